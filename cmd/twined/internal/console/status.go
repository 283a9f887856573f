package console

import (
	"context"
	"net/http"
	"time"
)

// askTimeout bounds how long the other servers of a cluster may take to tell of themselves.
const askTimeout = 2 * time.Second

// Status is the daemon at a glance.
type Status struct {
	Version   string             `json:"version"`
	Started   time.Time          `json:"started"`
	Uptime    float64            `json:"uptime"` // seconds
	Ready     bool               `json:"ready"`
	Reason    string             `json:"reason,omitempty"` // why it is not ready
	Clients   int                `json:"clients"`          // of the node that was asked
	Rooms     int                `json:"rooms"`
	Published map[string]float64 `json:"published"` // by what became of them, on the node that was asked
	Nodes     []Node             `json:"nodes"`
	Problem   string             `json:"problem,omitempty"` // why rooms or nodes may be incomplete
}

func (c *Console) status(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	clients := c.opts.Twine.Engine().ClientsCount()
	s := Status{Version: c.opts.Version, Started: c.started.UTC(), Uptime: time.Since(c.started).Seconds(), Clients: clients,
		Published: map[string]float64{}}
	if c.opts.Ready != nil {
		s.Reason = c.opts.Ready()
	}
	s.Ready = s.Reason == ""
	if c.opts.Published != nil {
		s.Published = c.opts.Published()
	}
	rooms, err := c.allRooms(ctx)
	if err != nil {
		c.opts.Log.Warn("console: rooms cannot be counted", "error", err)
		s.Problem = "the rooms cannot be counted"
	}
	s.Rooms = len(rooms)
	s.Nodes = []Node{{Name: "this node", Self: true, Version: s.Version, Clients: &clients, Started: s.Started}}
	if c.opts.Nodes != nil {
		nodes, err := c.opts.Nodes(ctx)
		if err != nil {
			c.opts.Log.Warn("console: nodes cannot be listed", "error", err)
			s.Problem = "the other nodes cannot be asked"
		} else {
			s.Nodes = nodes
		}
	}
	writeJSON(w, s)
}
