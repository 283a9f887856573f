package recovery_test

import (
	"errors"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/twine-realtime/twine/recovery"
)

func anyEntry() *rapid.Generator[recovery.Entry] {
	return rapid.Custom(func(t *rapid.T) recovery.Entry {
		e := recovery.Entry{
			Offset: anyOffset().Draw(t, "offset"),
			Data:   rapid.SliceOf(rapid.Byte()).Draw(t, "data"),
			ID:     rapid.String().Draw(t, "id"),
		}
		if rooms := rapid.SliceOf(rapid.String()).Draw(t, "rooms"); len(rooms) > 0 {
			e.Rooms = rooms
		}
		if except := rapid.SliceOf(rapid.String()).Draw(t, "except"); len(except) > 0 {
			e.Except = except
		}
		if list := rapid.SliceOf(rapid.SliceOf(rapid.Byte())).Draw(t, "attachments"); len(list) > 0 {
			e.Attachments = list
		}
		return e
	})
}

func TestEntryBinary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := anyEntry().Draw(t, "entry")
		b, err := e.AppendBinary([]byte("before"))
		if err != nil {
			t.Fatal(err)
		}
		b = b[len("before"):]
		var back recovery.Entry
		if err := back.UnmarshalBinary(b); err != nil || !reflect.DeepEqual(back, e) {
			t.Fatalf("%+v came back as %+v: %v", e, back, err)
		}
		// Any damage is noticed, and leaves the entry alone.
		bad := append([]byte(nil), b...)
		switch rapid.IntRange(0, 2).Draw(t, "damage") {
		case 0:
			bad[rapid.IntRange(0, len(bad)-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		case 1:
			bad = bad[:rapid.IntRange(0, len(bad)-1).Draw(t, "length")]
		case 2:
			bad = append(bad, 0)
		}
		kept := back
		if err := back.UnmarshalBinary(bad); !errors.Is(err, recovery.ErrCorrupt) || !reflect.DeepEqual(back, kept) {
			t.Fatalf("damage was not noticed: %v", err)
		}
	})
}

func FuzzEntryUnmarshal(f *testing.F) {
	e := recovery.Entry{Rooms: []string{"r"}, Data: []byte(`["e"]`), Attachments: [][]byte{{1}}}
	b, _ := e.AppendBinary(nil)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var e recovery.Entry
		if err := e.UnmarshalBinary(b); err != nil && !errors.Is(err, recovery.ErrCorrupt) {
			t.Error(err)
		}
	})
}

func TestExcepts(t *testing.T) {
	e := recovery.Entry{Except: []string{"a", "b"}}
	if !e.Excepts([]string{"x", "b"}) || e.Excepts([]string{"x"}) || e.Excepts(nil) {
		t.Error("Excepts")
	}
	if (&recovery.Entry{}).Excepts([]string{"a"}) {
		t.Error("Excepts of nobody")
	}
}
