package v1

import (
	"fmt"
	"testing"
)

func TestPagesOfSeveralServers(t *testing.T) {
	room := func(name string, sockets int) Room { return Room{name, sockets} }
	for name, test := range map[string]struct {
		pages []roomsPage
		limit int
		want  roomsPage
	}{
		"none":  {[]roomsPage{{}}, 5, roomsPage{}},
		"added": {[]roomsPage{{Rooms: []Room{room("a", 1), room("b", 2)}}, {Rooms: []Room{room("b", 3), room("c", 1)}}}, 5, roomsPage{Rooms: []Room{room("a", 1), room("b", 5), room("c", 1)}}},
		"cut":   {[]roomsPage{{Rooms: []Room{room("a", 1), room("b", 2)}}, {Rooms: []Room{room("b", 3), room("c", 1)}}}, 2, roomsPage{Rooms: []Room{room("a", 1), room("b", 5)}, More: true}},
		// How many are in "c" on the first server is not known.
		"more on one": {[]roomsPage{{Rooms: []Room{room("a", 1), room("b", 2)}, More: true}, {Rooms: []Room{room("a", 3), room("c", 1)}}}, 2, roomsPage{Rooms: []Room{room("a", 4), room("b", 2)}, More: true}},
		"more on two": {[]roomsPage{{Rooms: []Room{room("c", 1)}, More: true}, {Rooms: []Room{room("b", 1)}, More: true}}, 1, roomsPage{Rooms: []Room{room("b", 1)}, More: true}},
	} {
		if got := merge(test.pages, test.limit); fmt.Sprint(got) != fmt.Sprint(test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
