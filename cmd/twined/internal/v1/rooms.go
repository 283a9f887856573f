package v1

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/twine-realtime/twine/twine"
)

const (
	// roomsEvent asks the other servers of a cluster for a page of their rooms.
	roomsEvent = "twined:rooms"
	// roomsTimeout is how long they may take. A server of Node in the cluster never answers.
	roomsTimeout = 2 * time.Second
)

// Room is a room and how many sockets are in it.
type Room struct {
	Room    string `json:"room"`
	Sockets int    `json:"sockets"`
}

// roomsQuery says which rooms a page has: the first ones by name of those that it describes.
type roomsQuery struct {
	Prefix string `json:"prefix"`
	After  string `json:"after"`
	Limit  int    `json:"limit"`
}

type roomsPage struct {
	Rooms []Room `json:"rooms"`
	More  bool   `json:"more"`
	// Partial says that a server of the cluster did not tell of its rooms.
	Partial bool `json:"partial,omitempty"`
}

// rooms lists the rooms by name, less those that are a socket's own.
func (a *API) rooms(w http.ResponseWriter, r *http.Request) error {
	params, err := query(r, "prefix", "after", "limit")
	if err != nil {
		return err
	}
	q := roomsQuery{Prefix: params.Get("prefix"), After: params.Get("after")}
	if q.Limit, err = limit(params, maxListed, maxListed); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), roomsTimeout)
	defer cancel()
	replies, failed := a.Twine.Of(namespace).ServerSideEmitWithAck(ctx, roomsEvent, q)
	pages := []roomsPage{a.ownRooms(q)}
	for i := range replies {
		var page roomsPage
		if err := replies[i].Args(&page); err != nil {
			failed = err
			continue
		}
		pages = append(pages, page)
	}
	all := merge(pages, q.Limit)
	all.Partial = failed != nil
	return writeJSON(w, http.StatusOK, all)
}

// answerRooms lets the other servers ask this one.
func (a *API) answerRooms() {
	a.Twine.Of(namespace).OnServerEvent(roomsEvent, func(_ context.Context, e *twine.Event) {
		var q roomsQuery
		if e.WantsAck() && e.Args(&q) == nil && q.Limit >= 0 {
			_ = e.Ack(a.ownRooms(q)) // who asked is gone, or has it
		}
	})
}

// ownRooms is a page of this server's rooms.
func (a *API) ownRooms(q roomsQuery) roomsPage {
	in := a.Twine.Of(namespace).Adapter()
	page := roomsPage{Rooms: []Room{}}
	for name, sockets := range in.Rooms() {
		if strings.HasPrefix(name, q.Prefix) && name > q.After && in.Member(name) == nil {
			page.Rooms = append(page.Rooms, Room{name, sockets})
		}
	}
	slices.SortFunc(page.Rooms, func(a, b Room) int { return strings.Compare(a.Room, b.Room) })
	return page.cut(q.Limit)
}

func (p roomsPage) cut(limit int) roomsPage {
	if len(p.Rooms) > limit {
		p.Rooms, p.More = p.Rooms[:limit], true
	}
	return p
}

// merge returns the pages of several servers as one. It ends where the first of them does that has more: behind that, it is not
// known how many sockets a room has there.
func merge(pages []roomsPage, limit int) roomsPage {
	all := roomsPage{Rooms: []Room{}}
	known := func(string) bool { return true }
	for _, p := range pages {
		if p.More && len(p.Rooms) > 0 {
			last, before := p.Rooms[len(p.Rooms)-1].Room, known
			known = func(room string) bool { return room <= last && before(room) }
			all.More = true
		}
		all.Rooms = append(all.Rooms, p.Rooms...)
	}
	slices.SortFunc(all.Rooms, func(a, b Room) int { return cmp.Compare(a.Room, b.Room) })
	merged := all.Rooms[:0]
	for _, room := range all.Rooms {
		switch n := len(merged); {
		case n > 0 && merged[n-1].Room == room.Room:
			merged[n-1].Sockets += room.Sockets
		case known(room.Room):
			merged = append(merged, room)
		}
	}
	all.Rooms = merged
	return all.cut(limit)
}
