package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestPayloadIsReadBack(t *testing.T) {
	for _, s := range []stamp{{0, 0, 0}, {7, 3, 12345}, {1<<32 - 1, 99_999, 1 << 45}} {
		for _, size := range []int{0, 30, 100, 5000} {
			payload := appendPayload([]byte("kept"), s, size)[4:]
			var members map[string]any
			if err := json.Unmarshal(payload, &members); err != nil {
				t.Fatalf("%v: %s", err, payload)
			}
			if len(payload) < size || (size >= 100 && len(payload) != size) {
				t.Errorf("%d bytes, want %d", len(payload), size)
			}
			stamped := strings.TrimSuffix(string(payload), "}") + `,"room":"load-x-3","timestamp":1754000000000}`
			for _, event := range []string{`["message",` + stamped + `]`, `["message",` + stamped + `,"1754000000000-12"]`} {
				if got, ok := parseMessage([]byte(event)); !ok || got != s {
					t.Errorf("%s: %v %v, want %v", event, got, ok, s)
				}
			}
		}
	}
}

func TestParseMessageOfAnotherServer(t *testing.T) {
	got, ok := parseMessage([]byte(`["message", {"room":"a","t":3,"n":1,"r":2}, "1-0"]`))
	if want := (stamp{1, 2, 3}); !ok || got != want {
		t.Errorf("%v %v", got, ok)
	}
	for _, foreign := range []string{`["message",{}]`, `["message",{"n":1,"r":2}]`, `["message",{"n":-1,"r":0,"t":0}]`, `["other",{"n":1,"r":2,"t":3}]`,
		`["message",{"n":1,"r":2,"t":3`, `["message"]`, `[]`, `{}`, ``} {
		if s, ok := parseMessage([]byte(foreign)); ok {
			t.Errorf("%s: %v", foreign, s)
		}
	}
}

func TestTally(t *testing.T) {
	for _, test := range []struct {
		name       string
		got        []uint32
		subscribed int64 // messages are sent at 10, 20, 30...
		failed     []uint32
		missing    int
		doubled    uint32
		outOfOrder uint32
	}{
		{"all", []uint32{0, 1, 2, 3, 4}, 5, nil, 0, 0, 0},
		{"none", nil, 5, nil, 5, 0, 0},
		{"none owed", nil, 55, nil, 0, 0, 0},
		{"more than owed", []uint32{1, 2, 3, 4}, 25, nil, 0, 0, 0},
		{"first lost", []uint32{2, 3, 4}, 15, nil, 1, 0, 0},
		{"hole", []uint32{0, 3, 4}, 5, nil, 2, 0, 0},
		{"last lost", []uint32{0, 1, 2}, 5, nil, 2, 0, 0},
		{"doubled", []uint32{0, 1, 1, 2, 3, 4, 0}, 5, nil, 0, 2, 0},
		{"swapped", []uint32{0, 2, 1, 3, 4}, 5, nil, 0, 0, 1},
		{"doubled late", []uint32{0, 2, 1, 1, 3, 4}, 5, nil, 0, 1, 1},
		{"before the first", []uint32{2, 3, 4, 0}, 5, nil, 1, 0, 1},
		{"never accepted", []uint32{1, 3}, 5, []uint32{0, 2, 4}, 0, 0, 0},
		{"never accepted but come", []uint32{0, 1, 2, 3, 4}, 5, []uint32{0, 2, 4}, 0, 0, 0},
		{"nothing accepted", nil, 5, []uint32{0, 1, 2, 3, 4}, 0, 0, 0},
		{"refused before owed", nil, 25, []uint32{0, 3}, 2, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			var u tally
			for _, n := range test.got {
				u.add(n)
			}
			room := &roomLog{Sent: []int64{10, 20, 30, 40, 50}, Failed: test.failed}
			if missing := u.missing(room, test.subscribed); missing != test.missing || u.doubled != test.doubled || u.outOfOrder != test.outOfOrder {
				t.Errorf("%d missing, %d doubled, %d out of order; want %+v", missing, u.doubled, u.outOfOrder, test)
			}
		})
	}
}

// Whatever comes, in whatever order, the account is that of a set.
func TestTallyKeepsAccountOfRandomDeliveries(t *testing.T) {
	for seed := range uint64(2000) {
		random := rand.New(rand.NewPCG(seed, 1))
		room := &roomLog{}
		for n := range 1 + random.IntN(20) {
			room.Sent = append(room.Sent, int64(n*10))
			if random.IntN(5) == 0 {
				room.Failed = append(room.Failed, uint32(n))
			}
		}
		subscribed := int64(random.IntN(len(room.Sent) * 10))
		var u tally
		var got []uint32
		fresh := 0
		for range random.IntN(30) {
			n := uint32(random.IntN(len(room.Sent)))
			got = append(got, n)
			if u.add(n) {
				fresh++
			}
		}
		first := uint32(len(room.Sent))
		for n := range room.Sent {
			if room.Sent[n] >= subscribed {
				first = uint32(n)
				break
			}
		}
		if len(got) > 0 {
			first = min(first, slices.Min(got))
		}
		missing, seen := 0, map[uint32]bool{}
		for _, n := range got {
			seen[n] = true
		}
		for n := first; n < uint32(len(room.Sent)); n++ {
			if !seen[n] && !slices.Contains(room.Failed, n) {
				missing++
			}
		}
		if m := u.missing(room, subscribed); m != missing || fresh != len(seen) || int(u.received) != len(seen) || int(u.doubled) != len(got)-len(seen) {
			t.Fatalf("seed %d: %v of %d from %d, refused %v: %d missing, want %d; %+v", seed, got, len(room.Sent), first, room.Failed, m, missing, u)
		}
	}
}

func TestTallyIsBounded(t *testing.T) {
	var u tally
	u.add(0)
	u.add(1 << 31)
	if len(u.holes) > maxHoles {
		t.Error(len(u.holes))
	}
}

func BenchmarkReceive(b *testing.B) {
	event := fmt.Appendf(nil, `["message",%s,"1754000000000-12"]`, appendPayload(nil, stamp{1, 2, 3}, 100))
	var u tally
	b.ReportAllocs()
	for n := range b.N {
		if _, ok := parseMessage(event); !ok || !u.add(uint32(n)) {
			b.Fatal("not a message")
		}
	}
}
