package console

import (
	"cmp"
	"context"
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
}

// listRooms answers with the largest rooms whose names contain q, in whatever case.
func (c *Console) listRooms(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	all, err := c.allRooms(ctx)
	if err != nil {
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

// allRooms returns the rooms, less those that are a socket's own: largest first, then by name. It is shared and must not be
// changed.
func (c *Console) allRooms(ctx context.Context) ([]Room, error) {
	c.rooms.mu.Lock()
	defer c.rooms.mu.Unlock()
	if c.rooms.list != nil && time.Since(c.rooms.made) < roomsAge {
		return c.rooms.list, nil
	}
	local := c.opts.Twine.Of(namespace).Adapter()
	var sizes map[string]int
	if c.opts.Rooms == nil {
		sizes = local.Rooms()
	} else {
		var err error
		if sizes, err = c.opts.Rooms(ctx); err != nil {
			return nil, err
		}
	}
	list := make([]Room, 0, len(sizes))
	for name, sockets := range sizes {
		if local.Member(name) == nil {
			list = append(list, Room{name, sockets})
		}
	}
	slices.SortFunc(list, func(a, b Room) int {
		return cmp.Or(cmp.Compare(b.Sockets, a.Sockets), strings.Compare(a.Room, b.Room))
	})
	c.rooms.list, c.rooms.made = list, time.Now()
	return list, nil
}
