package adapter

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

type stub string

func (s *stub) ID() string                                { return string(*s) }
func (*stub) Deliver(*Delivery)                           {}
func (*stub) Forget(uint64)                               {}
func (*stub) Details() (json.RawMessage, json.RawMessage) { return nil, nil }
func (*stub) Disconnect(bool)                             {}
func (*stub) RoomsChanged()                               {}

// The index does what a map of sets would do, however rooms grow, shrink, appear and vanish.
func TestIndexAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x index
		x.init()
		model := map[string]map[string]bool{} // rooms by member
		members := map[string]*stub{}
		id := rapid.Custom(func(t *rapid.T) string { return fmt.Sprint("m", rapid.IntRange(0, 39).Draw(t, "id")) })
		rooms := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d", "m1", "m2"}), 0, 4)

		selected := func(in, except []string) []string {
			var want []string
			for id, joined := range model {
				has := func(room string) bool { return joined[room] }
				if (len(in) == 0 || slices.ContainsFunc(in, has)) && !slices.ContainsFunc(except, has) {
					want = append(want, id)
				}
			}
			slices.Sort(want)
			return want
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				id, rooms := id.Draw(t, "id"), rooms.Draw(t, "rooms")
				m := stub(id)
				members[id] = &m
				x.add(&m, rooms)
				model[id] = map[string]bool{}
				for _, room := range rooms {
					model[id][room] = true
				}
			},
			"fill": func(t *rapid.T) { // rooms change how they find their members as they grow
				for i := range 40 {
					id := fmt.Sprint("m", i)
					if members[id] != nil && x.addAll(members[id], []string{"b"}) {
						model[id]["b"] = true
					}
				}
			},
			"join": func(t *rapid.T) {
				id, rooms := id.Draw(t, "id"), rooms.Draw(t, "rooms")
				if members[id] == nil {
					return
				}
				if joined := x.addAll(members[id], rooms); joined != (model[id] != nil) {
					t.Fatalf("joined: %v", joined)
				}
				for _, room := range rooms {
					if model[id] != nil {
						model[id][room] = true
					}
				}
			},
			"leave": func(t *rapid.T) {
				id, rooms := id.Draw(t, "id"), rooms.Draw(t, "rooms")
				if members[id] == nil {
					return
				}
				x.del(members[id], rooms)
				for _, room := range rooms {
					delete(model[id], room)
				}
			},
			"end": func(t *rapid.T) {
				if id := id.Draw(t, "id"); members[id] != nil {
					x.delAll(members[id])
					delete(model, id)
				}
			},
			"": func(t *rapid.T) {
				sizes := map[string]int{}
				for id, joined := range model {
					for room := range joined {
						sizes[room]++
					}
					want := slices.Sorted(maps.Keys(joined))
					got := x.roomsOf(id)
					if slices.Sort(got); !slices.Equal(got, want) {
						t.Fatalf("%s is in %v, want %v", id, got, want)
					}
				}
				if got := x.sizes(); !maps.Equal(got, sizes) {
					t.Fatalf("sizes %v, want %v", got, sizes)
				}
				o := Options{Rooms: rooms.Draw(t, "in"), Except: rooms.Draw(t, "except")}
				var got []string
				n := x.each(&o, func(m Member) { got = append(got, m.ID()) })
				want := selected(o.Rooms, o.Except)
				if slices.Sort(got); !slices.Equal(got, want) || n != len(want) {
					t.Fatalf("%+v selects %v (%d), want %v", o, got, n, want)
				}
				if some := x.each(&o, nil) > 0; some != (len(want) > 0) {
					t.Fatalf("%+v selects someone: %v", o, some)
				}
			},
		})
	})
}

// Memory of a room that has emptied is given back.
func TestRoomsShrink(t *testing.T) {
	var x index
	x.init()
	var members []*stub
	for i := range 1000 {
		m := stub(fmt.Sprint(i))
		members = append(members, &m)
		x.add(&m, []string{"room"})
	}
	for _, m := range members[5:] {
		x.delAll(m)
	}
	r := x.rooms[x.shardOf("room")].rooms["room"]
	if len(r.members) != 5 || cap(r.members) > 128 || r.positions != nil || cap(x.all) > 128 {
		t.Errorf("%d members, capacity %d and %d, map %v", len(r.members), cap(r.members), cap(x.all), r.positions != nil)
	}
	for _, m := range members[:5] {
		x.delAll(m)
	}
	for i := range x.rooms {
		if len(x.rooms[i].rooms) > 0 || len(x.members[i].entries) > 0 {
			t.Error("something is left")
		}
	}
}
