package console

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// roomsAge is how old the list of rooms may be. Listing them costs time in proportion to the clients.
	roomsAge = time.Second
	// maxListed is how many rooms one answer holds.
	maxListed = 100
)

// Room is a room and how many sockets are in it.
type Room struct {
	Room    string `json:"room"`
	Sockets int    `json:"sockets"`
}

// roomsCache is the list of rooms for all who watch. The zero value is empty.
type roomsCache struct {
	mu   sync.Mutex // held while the list is made, so that it is made once
	made time.Time
	list []Room
	err  error // nil, or one that matches ErrPartial
}

// listRooms answers with the largest rooms whose names contain q, in whatever case.
func (c *Console) listRooms(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	all, err := c.allRooms(ctx)
	if err != nil && !errors.Is(err, ErrPartial) {
		c.opts.Log.Warn("console: rooms cannot be listed", "error", err)
		w.Header().Set("Retry-After", "1")
		http.Error(w, "the rooms cannot be listed now; try again", http.StatusServiceUnavailable)
		return
	}
	found := matching(all, r.URL.Query().Get("q"))
	writeJSON(w, map[string]any{"rooms": found[:min(len(found), maxListed)], "found": len(found), "all": len(all)})
}

// matching returns the rooms whose names contain the text. It does not change the list.
func matching(list []Room, text string) []Room {
	if text == "" {
		return list
	}
	text = strings.ToLower(text)
	found := []Room{}
	for _, room := range list {
		if strings.Contains(strings.ToLower(room.Room), text) {
			found = append(found, room)
		}
	}
	return found
}

// allRooms returns the rooms, as listOf does. They are shared and must not be changed. An error that matches ErrPartial comes
// with those that are known.
func (c *Console) allRooms(ctx context.Context) ([]Room, error) {
	c.rooms.mu.Lock()
	defer c.rooms.mu.Unlock()
	if c.rooms.list != nil && time.Since(c.rooms.made) < roomsAge {
		return c.rooms.list, c.rooms.err
	}
	local := c.opts.Twine.Of(namespace).Adapter()
	var sizes map[string]int
	var err error
	if c.opts.Rooms == nil {
		sizes = local.Rooms()
	} else if sizes, err = c.opts.Rooms(ctx); err != nil && !errors.Is(err, ErrPartial) {
		return nil, err
	}
	c.rooms.list = listOf(sizes, func(room string) bool { return local.Member(room) != nil })
	c.rooms.made, c.rooms.err = time.Now(), err
	return c.rooms.list, err
}

// listOf returns the rooms, largest first, then by name, less those that are a socket's own.
func listOf(sizes map[string]int, own func(room string) bool) []Room {
	list := make([]Room, 0, len(sizes))
	for name, sockets := range sizes {
		if !own(name) {
			list = append(list, Room{name, sockets})
		}
	}
	slices.SortFunc(list, func(a, b Room) int {
		return cmp.Or(cmp.Compare(b.Sockets, a.Sockets), strings.Compare(a.Room, b.Room))
	})
	return list
}
