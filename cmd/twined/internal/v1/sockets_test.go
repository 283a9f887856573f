package v1

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/twine-realtime/twine/adapter"
)

type roomList struct {
	Rooms []Room
	More  bool
}

func TestRooms(t *testing.T) {
	s := startService(t)
	s.connect("b", "a")
	s.connect("b", "c/ć d%?#.")
	s.connect()
	list := func(query string) (got roomList) {
		s.ask("GET", "/v1/rooms"+query, "").into(t, 200, &got)
		return got
	}
	all := []Room{{"a", 1}, {"b", 2}, {"c/ć d%?#.", 1}}
	for query, want := range map[string]roomList{
		"":                   {all, false},
		"?limit=3":           {all, false},
		"?limit=2":           {all[:2], true},
		"?after=a":           {all[1:], false},
		"?after=a&limit=1":   {all[1:2], true},
		"?after=c%2F":        {all[2:], false},
		"?after=z":           {[]Room{}, false},
		"?prefix=b":          {all[1:2], false},
		"?prefix=c&after=c":  {all[2:], false},
		"?prefix=x":          {[]Room{}, false},
		"?prefix=&limit=001": {all[:1], true},
	} {
		if got := list(query); !slices.Equal(got.Rooms, want.Rooms) || got.More != want.More || got.Rooms == nil {
			t.Errorf("%s: %+v, want %+v", query, got, want)
		}
	}
	for _, query := range []string{"?limit=0", "?limit=1001", "?limit=x", "?page=2", "?prefix=a&prefix=b"} {
		s.ask("GET", "/v1/rooms"+query, "").problem(t, 400)
	}
}

func TestRoomsOfAnyName(t *testing.T) {
	s := startService(t)
	for _, name := range []string{"a", "/", "//", "a/b", "/a", "a/", "%2F", "..", ".", "a%2Fb", "a b+c", "ć?x=1#y", "{room}", "history"} {
		c := s.connect(name)
		path := "/v1/rooms/" + url.PathEscape(name)
		if name == "." || name == ".." {
			path = "/v1/rooms/" + map[string]string{".": "%2E", "..": "%2E%2E"}[name]
		}
		var room Room
		s.ask("GET", path, "").into(t, 200, &room)
		var in struct{ Sockets []string }
		s.ask("GET", path+"/sockets", "").into(t, 200, &in)
		if room != (Room{name, 1}) || !slices.Equal(in.Sockets, []string{c.id}) {
			t.Errorf("room %q: %+v with %q, want %s", name, room, in.Sockets, c.id)
		}
		s.publish(fmt.Sprintf(`{"room":%q}`, name))
		var page historyPage
		s.ask("GET", path+"/history", "").into(t, 200, &page)
		if len(page.Entries) != 1 || page.Entries[0].Rooms[0] != name {
			t.Errorf("history of room %q: %+v", name, page)
		}
	}
	var nobody Room
	s.ask("GET", "/v1/rooms/nobody", "").into(t, 200, &nobody)
	var none struct{ Sockets []string }
	answer := s.ask("GET", "/v1/rooms/nobody/sockets", "")
	answer.into(t, 200, &none)
	if nobody != (Room{"nobody", 0}) || string(answer.body) != `{"sockets":[]}` {
		t.Errorf("a room that nobody is in: %+v, %s", nobody, answer.body)
	}
	s.ask("GET", "/v1/rooms/a/sockets?limit=1", "").problem(t, 400)
	s.ask("GET", "/v1/rooms/a?x=1", "").problem(t, 400)
}

func TestSocket(t *testing.T) {
	s := startService(t)
	before := time.Now().Add(-time.Second)
	c := s.connect("b", "a")
	var got Socket
	s.ask("GET", "/v1/sockets/"+c.id, "").into(t, 200, &got)
	if got.ID != c.id || !slices.Equal(got.Rooms, []string{"a", "b"}) || got.Transport != "websocket" || got.Address == "" ||
		got.Connected.Before(before) || got.Connected.After(time.Now()) {
		t.Errorf("got %+v", got)
	}
	var rooms roomList
	s.ask("GET", "/v1/rooms", "").into(t, 200, &rooms)
	if len(rooms.Rooms) != 2 {
		t.Errorf("rooms are %+v", rooms)
	}
	for _, method := range []string{"GET", "DELETE"} {
		s.ask(method, "/v1/sockets/"+c.id+"x", "").problem(t, 404)
	}
	if answer := s.ask("DELETE", "/v1/sockets/"+c.id, ""); answer.StatusCode != 204 || len(answer.body) > 0 {
		t.Errorf("%s %s", answer.Status, answer.body)
	}
	c.next("41")
	eventually(t, "the socket is gone", func() bool { return s.ask("GET", "/v1/sockets/"+c.id, "").StatusCode == 404 })
	s.ask("DELETE", "/v1/sockets/"+c.id, "").problem(t, 404)
}

// TestSocketElsewhere is about one that is connected to another server of the cluster.
func TestSocketElsewhere(t *testing.T) {
	s := startService(t)
	c := s.connect("elsewhere") // in a room that is named like the socket's own
	s.remote.mu.Lock()
	s.remote.sockets = []adapter.Details{{ID: "elsewhere", Rooms: []string{"elsewhere", "b", "a"},
		Handshake: json.RawMessage(`{"time":"Thu Jan 01 2026 00:00:00 GMT+0000","issued":1767225600000,"address":"10.0.0.9","headers":{},"query":{},"url":"/","auth":{}}`)}}
	s.remote.mu.Unlock()
	var got Socket
	s.ask("GET", "/v1/sockets/elsewhere", "").into(t, 200, &got)
	if got.ID != "elsewhere" || !slices.Equal(got.Rooms, []string{"a", "b"}) || got.Transport != "" || got.Address != "10.0.0.9" || got.Connected.Unix() != 1767225600 {
		t.Errorf("got %+v", got)
	}
	if answer := s.ask("DELETE", "/v1/sockets/elsewhere", ""); answer.StatusCode != 204 || len(s.remote.disconnected) != 1 || !slices.Equal(s.remote.disconnected[0].Rooms, []string{"elsewhere"}) {
		t.Errorf("%s %s %+v", answer.Status, answer.body, s.remote.disconnected)
	}
	c.next("41") // it was disconnected with the other
	s.ask("GET", "/v1/sockets/nobody", "").problem(t, 404)
	s.ask("GET", "/v1/sockets/elsewhere?x=1", "").problem(t, 400)
	s.remote.mu.Lock()
	s.remote.failure = errors.New("a server does not answer")
	s.remote.mu.Unlock()
	for _, method := range []string{"GET", "DELETE"} {
		s.ask(method, "/v1/sockets/nobody", "").problem(t, 503)
	}
}
