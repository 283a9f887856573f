package v1

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/twine"
)

const maxListed = 1000

// Room is a room and how many sockets are in it.
type Room struct {
	Room    string `json:"room"`
	Sockets int    `json:"sockets"`
}

// Socket is a connected client.
type Socket struct {
	ID        string    `json:"id"`
	Rooms     []string  `json:"rooms"`
	Transport string    `json:"transport"`
	Address   string    `json:"address"`
	Connected time.Time `json:"connected"`
}

// rooms lists this node's rooms by name, less those that are a socket's own.
func (a *API) rooms(w http.ResponseWriter, r *http.Request) error {
	params, err := query(r, "prefix", "after", "limit")
	if err != nil {
		return err
	}
	limit, err := limit(params, maxListed, maxListed)
	if err != nil {
		return err
	}
	prefix, after := params.Get("prefix"), params.Get("after")
	in := a.Twine.Of(namespace).Adapter()
	list := []Room{}
	for name, sockets := range in.Rooms() {
		if strings.HasPrefix(name, prefix) && name > after && in.Member(name) == nil {
			list = append(list, Room{name, sockets})
		}
	}
	slices.SortFunc(list, func(a, b Room) int { return strings.Compare(a.Room, b.Room) })
	more := len(list) > limit
	return writeJSON(w, http.StatusOK, map[string]any{"rooms": list[:min(limit, len(list))], "more": more})
}

func (a *API) room(w http.ResponseWriter, r *http.Request) error {
	name, ids, err := a.inRoom(r)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, Room{name, len(ids)})
}

func (a *API) roomSockets(w http.ResponseWriter, r *http.Request) error {
	_, ids, err := a.inRoom(r)
	if err != nil {
		return err
	}
	slices.Sort(ids)
	if ids == nil {
		ids = []string{}
	}
	return writeJSON(w, http.StatusOK, map[string]any{"sockets": ids})
}

// inRoom returns the ids of the sockets in the room that a request names.
func (a *API) inRoom(r *http.Request) (room string, ids []string, err error) {
	if room, err = pathRoom(r); err != nil {
		return "", nil, err
	}
	if _, err := query(r); err != nil {
		return "", nil, err
	}
	ids, err = a.Twine.Of(namespace).Adapter().Sockets(r.Context(), adapter.Options{Rooms: []string{room}})
	return room, ids, err
}

func (a *API) find(r *http.Request) (*twine.Socket, error) {
	id, err := pathValue(r, "id")
	if err != nil {
		return nil, err
	}
	s := a.Twine.Of(namespace).Socket(id)
	if s == nil {
		return nil, newProblem(http.StatusNotFound, "no socket with this id is connected here")
	}
	return s, nil
}

func (a *API) socket(w http.ResponseWriter, r *http.Request) error {
	s, err := a.find(r)
	if err != nil {
		return err
	}
	rooms := slices.DeleteFunc(s.Rooms(), func(room string) bool { return room == s.ID() })
	slices.Sort(rooms)
	conn := s.Conn()
	return writeJSON(w, http.StatusOK, Socket{ID: s.ID(), Rooms: rooms, Transport: conn.Transport(),
		Address: conn.Handshake().RemoteAddr, Connected: conn.Handshake().Time.UTC()})
}

func (a *API) disconnect(w http.ResponseWriter, r *http.Request) error {
	s, err := a.find(r)
	if err != nil {
		return err
	}
	s.Disconnect(true)
	w.WriteHeader(http.StatusNoContent)
	return nil
}
