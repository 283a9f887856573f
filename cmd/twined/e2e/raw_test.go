//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// raw is a Socket.IO connection of which a test sees every packet.
type raw struct {
	t       *testing.T
	conn    net.Conn
	id      string
	packets *lines // less those of the heartbeat
}

// dialRaw connects to the main namespace, with the cookie twineid unless that is empty.
func dialRaw(t *testing.T, d *daemon, twineID string) *raw {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	header := http.Header{}
	if twineID != "" {
		header.Set("Cookie", "twineid="+twineID)
	}
	dialer := ws.Dialer{Header: ws.HandshakeHeaderHTTP(header)}
	conn, early, _, err := dialer.Dial(ctx, "ws://"+d.host+"/socket.io/?EIO=4&transport=websocket")
	if err != nil {
		t.Fatal(err)
	}
	if early != nil {
		conn = &bufferedConn{conn.(*net.TCPConn), early}
	}
	r := &raw{t: t, conn: conn, packets: &lines{ended: make(chan struct{})}}
	go r.read()
	t.Cleanup(func() {
		conn.Close()
		<-r.packets.ended
	})
	r.say("40")
	var connected struct{ SID string }
	if err := json.Unmarshal([]byte(r.wait("40{")[2:]), &connected); err != nil {
		t.Fatal(err)
	}
	r.id = connected.SID
	return r
}

func (r *raw) read() {
	defer close(r.packets.ended)
	for {
		r.conn.SetReadDeadline(time.Now().Add(2 * time.Minute))
		data, err := wsutil.ReadServerText(r.conn)
		if err != nil {
			return
		}
		if string(data) == "2" {
			data = nil
			err = wsutil.WriteClientText(r.conn, []byte("3"))
		}
		if len(data) > 0 && data[0] == '4' {
			r.packets.mu.Lock()
			r.packets.all = append(r.packets.all, string(data))
			r.packets.mu.Unlock()
		}
		if err != nil {
			return
		}
	}
}

func (r *raw) say(packet string) {
	r.t.Helper()
	if err := wsutil.WriteClientText(r.conn, []byte(packet)); err != nil {
		r.t.Fatal(err)
	}
}

// wait returns the first packet that begins with prefix.
func (r *raw) wait(prefix string) string {
	r.t.Helper()
	return r.packets.waitFor(r.t, 0, "a packet "+prefix+" comes", func(packet string) bool { return strings.HasPrefix(packet, prefix) })
}

func (r *raw) subscribe(room string) {
	r.t.Helper()
	r.say(`42["subscribe","` + room + `"]`)
	r.wait(`42["roomJoined","You have joined room: ` + room + `"`)
}

// message is a message of /api/twine with a number.
type message struct {
	N         int
	Room      string
	Timestamp int64
}

func (r *raw) messages() (all []message) {
	r.t.Helper()
	for _, packet := range r.packets.from(0) {
		if !strings.HasPrefix(packet, `42["message",`) {
			continue
		}
		var args []json.RawMessage
		var m message
		if err := json.Unmarshal([]byte(packet[2:]), &args); err != nil {
			r.t.Fatal(err)
		}
		if err := json.Unmarshal(args[1], &m); err != nil {
			r.t.Fatal(err)
		}
		all = append(all, m)
	}
	return all
}

func (r *raw) waitMessages(count int) []message {
	r.t.Helper()
	eventually(r.t, "messages come", func() bool { return len(r.messages()) >= count })
	return r.messages()
}

// hangUp ends the connection and returns when the daemon has noticed.
func (r *raw) hangUp(d *daemon) {
	r.t.Helper()
	r.conn.Close()
	eventually(r.t, "the socket is gone", func() bool {
		response, _ := d.do(r.t, "GET", "/v1/sockets/"+r.id, http.Header{"Authorization": {d.key}}, nil)
		return response.StatusCode == 404
	})
}

// roomsOf returns the rooms that a socket is in.
func roomsOf(t *testing.T, d *daemon, id string) []string {
	t.Helper()
	var socket struct{ Rooms []string }
	response, text := d.do(t, "GET", "/v1/sockets/"+id, http.Header{"Authorization": {d.key}}, nil)
	if err := json.Unmarshal([]byte(text), &socket); err != nil || response.StatusCode != 200 {
		t.Fatalf("socket %s: %s %s", id, response.Status, text)
	}
	slices.Sort(socket.Rooms)
	return socket.Rooms
}
