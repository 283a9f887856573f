package dynamodb

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/twine-realtime/twine/recovery"
)

// No two names have the same key, and no key is longer than DynamoDB takes.
func TestPartitionsDiffer(t *testing.T) {
	name := rapid.OneOf(rapid.SampledFrom([]string{"", ":", "%", "%3a", "a", "a:b", "\x00", "ä", "\xff", "%%"}),
		rapid.String(), rapid.Custom(func(t *rapid.T) string {
			return strings.Repeat(rapid.SampledFrom([]string{"x", ":", "\xff"}).Draw(t, "c"), rapid.IntRange(290, 310).Draw(t, "n"))
		}))
	rapid.Check(t, func(t *rapid.T) {
		type place struct{ ns, room string }
		a := place{name.Draw(t, "ns"), name.Draw(t, "room")}
		b := place{name.Draw(t, "ns"), name.Draw(t, "room")}
		pa, pb := partitionRoom(a.ns, a.room), partitionRoom(b.ns, b.room)
		if (a == b) != (pa == pb) {
			t.Fatalf("%q and %q are at %q and %q", a, b, pa, pb)
		}
		if len(pa) > 2048 {
			t.Fatalf("a key of %d bytes", len(pa))
		}
	})
	if got := partitionRoom("/chat", "room 1"); got != "r:/chat:room%201" {
		t.Error(got)
	}
}

// What is copied and what is referred to.
func TestItemsOfAnEntry(t *testing.T) {
	rooms := []string{"a", "b", "a", "c"}
	for _, test := range []struct {
		size, bodies, refs int
		rooms              []string
	}{
		{100, 1, 0, nil}, {100, 3, 0, rooms}, {2000, 1, 2, rooms}, {2000, 1, 0, nil},
		{maxRecord + 1, 2, 3, rooms}, {3 * maxRecord, 4, 1, nil},
	} {
		e := recovery.Entry{Offset: recovery.Offset{MS: 5}, Rooms: test.rooms, Data: make([]byte, test.size)}
		record, err := e.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		var w written
		w.add(&e, record, "/", nil, time.Now())
		if len(w.bodies) != test.bodies || len(w.refs) != test.refs {
			t.Errorf("%d bytes in %q: %d and %d items", test.size, test.rooms, len(w.bodies), len(w.refs))
		}
		for _, it := range w.bodies {
			if n := itemSize(it); n > 400<<10 {
				t.Errorf("an item of %d bytes", n)
			}
		}
	}
}

func TestGenerations(t *testing.T) {
	at := func(ms uint64) recovery.Offset { return recovery.Offset{MS: ms} }
	var g generations
	var ids [][generationSize]byte
	for i := range uint64(5) {
		ids = append(ids, newGeneration())
		g, _ = g.with(generation{ids[i], at(10 * i)}, at(0))
	}
	g, err := decodeGenerations(g.encode())
	if err != nil {
		t.Fatal(err)
	}
	for ms := range uint64(60) {
		for i, id := range ids {
			// Generation i goes from 10i to the next; a position belongs to what is before it.
			want := ms > 10*uint64(i) && (ms <= 10*uint64(i+1) || i == 4)
			if g.valid(at(ms), id[:]) != want {
				t.Errorf("at %d generation %d is valid: %v", ms, i, !want)
			}
		}
		if g.valid(at(ms), nil) {
			t.Error("no generation is valid")
		}
	}
	// What start has passed is forgotten, and no more.
	g, start := g.with(generation{newGeneration(), at(50)}, at(25))
	if len(g) != 4 || start != at(25) || !g.valid(at(26), ids[2][:]) {
		t.Errorf("%d generations from %v", len(g), start)
	}
	for i := range uint64(2 * maxGenerations) {
		g, start = g.with(generation{newGeneration(), at(60 + i)}, start)
	}
	if len(g) != maxGenerations || start != g[0].after {
		t.Errorf("%d generations from %v, start is %v", len(g), g[0].after, start)
	}
	for _, bad := range []string{"", "\x02", "\x01x"} {
		if _, err := decodeGenerations([]byte(bad)); err == nil {
			t.Errorf("decoded %q", bad)
		}
	}
}
