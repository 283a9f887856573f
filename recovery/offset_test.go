package recovery_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/twine-realtime/twine/recovery"
)

func TestParseOffset(t *testing.T) {
	for _, s := range []string{"0-0", "1-0", "0-1", "1526919030474-55", "18446744073709551615-18446744073709551615"} {
		o, err := recovery.ParseOffset(s)
		if err != nil || o.String() != s {
			t.Errorf("%q: %v, %v", s, o, err)
		}
	}
	for _, s := range []string{
		"", "-", "1", "1-", "-1", "1-2-3", " 1-2", "1-2 ", "+1-2", "1--2", "01-2", "1-02", "00-0", "1-0x2", "1.5-0", "1_0-0",
		"18446744073709551616-0", "0-18446744073709551616", "99999999999999999999-0", "184467440737095516150-0", "1-٣", "*", "$", "1-*", "\x001-2", "1526919030474",
	} {
		if o, err := recovery.ParseOffset(s); !errors.Is(err, recovery.ErrOffset) || !o.IsZero() {
			t.Errorf("%q: %v, %v", s, o, err)
		}
	}
}

func anyOffset() *rapid.Generator[recovery.Offset] {
	part := rapid.OneOf(rapid.Uint64(), rapid.Uint64Range(0, 3), rapid.Just(uint64(math.MaxUint64)))
	return rapid.Custom(func(t *rapid.T) recovery.Offset {
		return recovery.Offset{MS: part.Draw(t, "ms"), Seq: part.Draw(t, "seq")}
	})
}

func TestOffsetForms(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyOffset().Draw(t, "a"), anyOffset().Draw(t, "b")
		if back, err := recovery.ParseOffset(a.String()); err != nil || back != a {
			t.Fatalf("%v: %v, %v", a, back, err)
		}
		if back, err := recovery.OffsetFromKey(a.AppendKey(nil)); err != nil || back != a {
			t.Fatalf("%v: %v, %v", a, back, err)
		}
		var back recovery.Offset
		if text, err := json.Marshal(a); err != nil || json.Unmarshal(text, &back) != nil || back != a {
			t.Fatalf("%v: %v, %v", a, back, err)
		}
		if a.Compare(b) != bytes.Compare(a.AppendKey(nil), b.AppendKey(nil)) {
			t.Fatalf("%v and %v compare differently than their keys", a, b)
		}
		if a.Compare(b) != -b.Compare(a) || (a == b) != (a.Compare(b) == 0) {
			t.Fatalf("%v and %v", a, b)
		}
		if a != recovery.MaxOffset && (!a.Next().After(a) || a.Before(b) && b.Before(a.Next())) {
			t.Fatalf("%v is not right before %v (%v)", a, a.Next(), b)
		}
	})
	if recovery.MaxOffset.Next() != recovery.MaxOffset {
		t.Error("there is something after MaxOffset")
	}
}

func TestOffsetTime(t *testing.T) {
	at := time.UnixMilli(1526919030474)
	if o := recovery.OffsetAt(at); o != (recovery.Offset{MS: 1526919030474}) || !o.Time().Equal(at) {
		t.Errorf("%v, %v", o, o.Time())
	}
	if o := recovery.OffsetAt(time.UnixMilli(-5)); !o.IsZero() {
		t.Errorf("before 1970: %v", o)
	}
	if recovery.MaxOffset.Time().Before(at) {
		t.Error("MaxOffset is in the past")
	}
}

func FuzzParseOffset(f *testing.F) {
	f.Add("1526919030474-55")
	f.Add("18446744073709551616-0")
	f.Fuzz(func(t *testing.T, s string) {
		if o, err := recovery.ParseOffset(s); err == nil && o.String() != s {
			t.Errorf("%q was read as %v", s, o)
		}
	})
}
