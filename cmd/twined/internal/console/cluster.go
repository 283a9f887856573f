package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twine-realtime/twine/twine"
)

const (
	// reportEvent asks the other daemons of a cluster for their reports.
	reportEvent = "twined:report"
	// reportTimeout is how long they may take. It ends before askTimeout, so that those that answered are shown.
	reportTimeout = time.Second
	// maxReported is how many rooms a report has, the largest.
	maxReported = 1000
)

// ErrPartial means that not all servers of the cluster have told of themselves, and that what comes with the error is what the
// others told. Servers of Node never do.
var ErrPartial = errors.New("some servers of the cluster did not answer")

// ClusterOptions describe a cluster and this server's place in it.
type ClusterOptions struct {
	Twine   *twine.Server
	Name    string // of this server
	Version string
	// List returns the addresses of the servers that are alive by their names, this one included. An address may be "".
	List func(context.Context) (map[string]string, error)
}

// Cluster knows what the servers of a cluster say of themselves. Its methods are for [Options], and may be called
// concurrently.
type Cluster struct {
	opts    ClusterOptions
	started time.Time
	ask     func(context.Context) ([]report, error) // the others

	mu      sync.Mutex // held while the others are asked, so that they are asked once
	asked   time.Time
	reports []report // this server's first
	err     error
}

// report is what a server says of itself.
type report struct {
	Name    string         `json:"name"`
	Version string         `json:"version"`
	Started time.Time      `json:"started"`
	Clients int            `json:"clients"`
	Rooms   map[string]int `json:"rooms"` // the largest
}

// NewCluster lets this server be asked by the others.
func NewCluster(opts ClusterOptions) *Cluster {
	c := &Cluster{opts: opts, started: time.Now()}
	c.ask = c.askOthers
	opts.Twine.Of(namespace).OnServerEvent(reportEvent, func(_ context.Context, e *twine.Event) {
		if e.WantsAck() {
			_ = e.Ack(c.own()) // who asked is gone, or has it
		}
	})
	return c
}

// Nodes lists the servers by name.
func (c *Cluster) Nodes(ctx context.Context) ([]Node, error) {
	addresses, err := c.opts.List(ctx)
	if err != nil {
		return nil, err
	}
	reports, _ := c.all(ctx) // those of Node are in no list
	nodes := make([]Node, 0, len(addresses))
	for name, address := range addresses {
		n := Node{Name: name, Address: address, Self: name == c.opts.Name}
		if i := slices.IndexFunc(reports, func(r report) bool { return r.Name == name }); i >= 0 {
			n.Version, n.Started, n.Clients = reports[i].Version, reports[i].Started, &reports[i].Clients
		} else {
			err = ErrPartial
		}
		nodes = append(nodes, n)
	}
	slices.SortFunc(nodes, func(a, b Node) int { return cmp.Or(cmp.Compare(a.Address, b.Address), strings.Compare(a.Name, b.Name)) })
	return nodes, err
}

// Rooms returns how many sockets each room has on all servers together.
func (c *Cluster) Rooms(ctx context.Context) (map[string]int, error) {
	reports, err := c.all(ctx)
	sizes := map[string]int{}
	for _, r := range reports {
		for room, sockets := range r.Rooms {
			sizes[room] += sockets
		}
	}
	return sizes, err
}

// all returns the reports of those that answer, this server included.
func (c *Cluster) all(ctx context.Context) ([]report, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.asked) < roomsAge {
		return c.reports, c.err
	}
	others, err := c.ask(ctx)
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrPartial, err)
	}
	c.reports, c.err, c.asked = append([]report{c.own()}, others...), err, time.Now()
	return c.reports, c.err
}

func (c *Cluster) askOthers(ctx context.Context) ([]report, error) {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	replies, err := c.opts.Twine.Of(namespace).ServerSideEmitWithAck(ctx, reportEvent)
	var reports []report
	for i := range replies {
		var r report
		if malformed := replies[i].Args(&r); malformed != nil {
			err = errors.Join(err, malformed)
			continue
		}
		reports = append(reports, r)
	}
	return reports, err
}

func (c *Cluster) own() report {
	r := report{Name: c.opts.Name, Version: c.opts.Version, Started: c.started.UTC(), Clients: c.opts.Twine.Engine().ClientsCount(), Rooms: map[string]int{}}
	in := c.opts.Twine.Of(namespace).Adapter()
	list := listOf(in.Rooms(), func(room string) bool { return in.Member(room) != nil })
	for _, room := range list[:min(len(list), maxReported)] {
		r.Rooms[room.Room] = room.Sockets
	}
	return r
}
