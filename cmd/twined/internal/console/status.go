package console

import (
	"context"
	"errors"
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
	Clients   int                `json:"clients"`          // of all nodes
	Rooms     int                `json:"rooms"`
	Published map[string]float64 `json:"published"` // by what became of them, on the node that was asked
	Nodes     []Node             `json:"nodes"`
	Problem   string             `json:"problem,omitempty"` // why clients, rooms or nodes may be incomplete
}

func (c *Console) status(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	clients := c.opts.Twine.Engine().ClientsCount()
	s := Status{Version: c.opts.Version, Started: c.started.UTC(), Uptime: time.Since(c.started).Seconds(), Published: map[string]float64{}}
	if c.opts.Ready != nil {
		s.Reason = c.opts.Ready()
	}
	s.Ready = s.Reason == ""
	if c.opts.Published != nil {
		s.Published = c.opts.Published()
	}
	rooms, err := c.allRooms(ctx)
	s.Rooms = len(rooms)
	s.Nodes = []Node{{Name: "this node", Self: true, Version: s.Version, Clients: &clients, Started: s.Started}}
	if c.opts.Nodes != nil {
		nodes, failed := c.opts.Nodes(ctx)
		if len(nodes) > 0 {
			s.Nodes = nodes
		}
		err = errors.Join(err, failed)
	}
	if err != nil {
		c.opts.Log.Debug("console: the cluster is not fully known", "error", err)
		s.Problem = ErrPartial.Error()
	}
	s.Clients = 0
	for _, node := range s.Nodes {
		if node.Clients != nil {
			s.Clients += *node.Clients
		}
	}
	writeJSON(w, s)
}
