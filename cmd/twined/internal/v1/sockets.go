package v1

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/twine"
)

const (
	maxListed = 1000
	// clusterTimeout is how long other servers may take to answer.
	clusterTimeout = 5 * time.Second
)

// Socket is a connected client.
type Socket struct {
	ID        string    `json:"id"`
	Rooms     []string  `json:"rooms"`
	Transport string    `json:"transport,omitempty"` // unknown of a socket that is connected to another server
	Address   string    `json:"address"`             // without the port there
	Connected time.Time `json:"connected"`
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
	ctx, cancel := context.WithTimeout(r.Context(), clusterTimeout)
	defer cancel()
	ids, err = a.Twine.Of(namespace).Adapter().Sockets(ctx, adapter.Options{Rooms: []string{room}})
	return room, ids, err
}

// find returns the socket that a request names, on this server or, described, on another of the cluster.
func (a *API) find(r *http.Request) (local *twine.Socket, remote twine.RemoteSocket, err error) {
	id, err := pathValue(r, "id")
	if err != nil {
		return nil, remote, err
	}
	if _, err := query(r); err != nil {
		return nil, remote, err
	}
	in := a.Twine.Of(namespace)
	if local = in.Socket(id); local != nil {
		return local, remote, nil
	}
	ctx, cancel := context.WithTimeout(r.Context(), clusterTimeout)
	defer cancel()
	described, err := in.In(id).FetchSockets(ctx)
	if err != nil {
		return nil, remote, err
	}
	for _, remote = range described {
		if remote.ID() == id { // the others are in a room of that name
			return nil, remote, nil
		}
	}
	return nil, remote, newProblem(http.StatusNotFound, "no socket with this id is connected")
}

func (a *API) socket(w http.ResponseWriter, r *http.Request) error {
	local, remote, err := a.find(r)
	if err != nil {
		return err
	}
	var s Socket
	if local != nil {
		conn := local.Conn()
		s = Socket{ID: local.ID(), Rooms: local.Rooms(), Transport: conn.Transport(), Address: conn.Handshake().RemoteAddr, Connected: conn.Handshake().Time}
	} else {
		shaken, err := remote.Handshake()
		if err != nil {
			return err
		}
		s = Socket{ID: remote.ID(), Rooms: slices.Clone(remote.Rooms()), Address: shaken.Address, Connected: shaken.Time}
	}
	s.Rooms = slices.DeleteFunc(s.Rooms, func(room string) bool { return room == s.ID })
	slices.Sort(s.Rooms)
	s.Connected = s.Connected.UTC()
	return writeJSON(w, http.StatusOK, s)
}

func (a *API) disconnect(w http.ResponseWriter, r *http.Request) error {
	local, remote, err := a.find(r)
	if err != nil {
		return err
	}
	if local != nil {
		local.Disconnect(true)
	} else if err := remote.Disconnect(true); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
