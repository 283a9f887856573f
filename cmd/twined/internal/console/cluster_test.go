package console

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twine-realtime/twine/twine"
)

func TestCluster(t *testing.T) {
	var others []report
	var failure, unlisted error
	asked := 0
	var cluster *Cluster
	s := start(t, func(o *Options) {
		cluster = NewCluster(ClusterOptions{Twine: o.Twine, Name: "a", Version: o.Version, List: func(context.Context) (map[string]string, error) {
			return map[string]string{"a": "http://a", "b": "http://b"}, unlisted
		}})
		cluster.ask = func(context.Context) ([]report, error) {
			asked++
			return others, failure
		}
		o.Nodes, o.Rooms = cluster.Nodes, cluster.Rooms
	})
	s.join("here", "both")
	others = []report{{Name: "b", Version: "v1.2.2", Started: time.Now(), Clients: 7, Rooms: map[string]int{"both": 4, "there": 3}}}
	again := func() (status Status, rooms roomList) {
		t.Helper()
		cluster.mu.Lock()
		cluster.asked = time.Time{}
		cluster.mu.Unlock()
		s.rooms.mu.Lock()
		s.rooms.made = time.Time{}
		s.rooms.mu.Unlock()
		asked = 0
		s.into("status", &status)
		s.into("rooms", &rooms)
		if asked > 2 { // on a slow machine a second may have passed
			t.Errorf("the others were asked %d times", asked)
		}
		return status, rooms
	}
	status, rooms := again()
	if fmt.Sprint(rooms) != "{[{both 5} {there 3} {here 1}] 3 3}" {
		t.Errorf("rooms %v", rooms)
	}
	if status.Clients != 8 || status.Rooms != 3 || status.Problem != "" || len(status.Nodes) != 2 {
		t.Fatalf("got %+v", status)
	}
	if a, b := status.Nodes[0], status.Nodes[1]; a.Name != "a" || !a.Self || *a.Clients != 1 || a.Version != "v1.2.3" ||
		b.Address != "http://b" || b.Self || *b.Clients != 7 || b.Version != "v1.2.2" {
		t.Errorf("nodes %+v", status.Nodes)
	}

	others, failure = nil, context.DeadlineExceeded // b hangs
	status, rooms = again()
	if status.Clients != 1 || len(status.Nodes) != 2 || status.Nodes[1].Clients != nil || status.Problem != ErrPartial.Error() {
		t.Errorf("got %+v", status)
	}
	if fmt.Sprint(rooms) != "{[{both 1} {here 1}] 2 2}" {
		t.Errorf("rooms %v", rooms)
	}
	unlisted = errors.New("Redis is out of reach")
	if status, _ = again(); len(status.Nodes) != 1 || !status.Nodes[0].Self || status.Clients != 1 || status.Problem == "" {
		t.Errorf("got %+v", status)
	}
}

// TestReport: what a server tells is bounded.
func TestReport(t *testing.T) {
	s := start(t, nil)
	c := NewCluster(ClusterOptions{Twine: s.opts.Twine, Name: "a"})
	s.opts.Twine.OnConnect(func(socket *twine.Socket) {
		for i := range maxReported + 10 {
			socket.Join(fmt.Sprint("room ", i))
		}
	})
	s.join("large")
	s.join("large")
	r := c.own()
	if len(r.Rooms) != maxReported || r.Rooms["large"] != 2 || r.Clients != 2 || r.Name != "a" {
		t.Errorf("%d rooms, large has %d, %d clients", len(r.Rooms), r.Rooms["large"], r.Clients)
	}
}
