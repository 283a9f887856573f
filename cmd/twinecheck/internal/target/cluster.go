package target

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
)

// cluster is a Target of several nodes that share a Redis, behind one address. Each Stop ends another node.
type cluster struct {
	name       string
	redis      *redisServers
	nodes      []*process // those that Stop may end
	others     []*process
	clients    *balancer
	publishers *keyed // nil: they go where clients go
	failed     chan error

	mu      sync.Mutex
	stopped []*process
	turn    int
}

// TwinedCluster returns nodes of twined that share a Redis as a Target. Publishers and clients go to any of them.
func TwinedCluster(ctx context.Context, opts Options) (Target, error) {
	return newCluster(ctx, opts, fmt.Sprintf("%d nodes of twined", opts.Nodes), opts.Nodes, 0)
}

// MixedCluster is TwinedCluster with a server of Node, socket.io with @socket.io/redis-streams-adapter, among the nodes.
// Publishers go to all of them, clients
// to those of twined.
func MixedCluster(ctx context.Context, opts Options) (Target, error) {
	return newCluster(ctx, opts, fmt.Sprintf("%d nodes of twined and 1 of Node", opts.Nodes), opts.Nodes, 1)
}

// NodeCluster returns servers of Node that share a Redis as a Target.
func NodeCluster(ctx context.Context, opts Options) (Target, error) {
	return newCluster(ctx, opts, fmt.Sprintf("%d servers of Node socket.io with the Redis Streams adapter", opts.Nodes), 0, opts.Nodes)
}

func newCluster(ctx context.Context, opts Options, name string, twined, node int) (_ Target, err error) {
	c := &cluster{name: name, failed: make(chan error, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	if c.redis, err = startRedis(ctx, opts.FailOver, opts.Keep); err != nil {
		return nil, err
	}
	if opts.FailOver {
		if node > 0 {
			return nil, errors.New("the servers of Node do not know of Sentinels here")
		}
		// An answer that a publisher gets has to outlive the failover.
		opts.Args = append([]string{"--redis-replicas", "1"}, opts.Args...)
	}
	opts.Args = append([]string{"--redis-url", c.redis.url()}, opts.Args...)
	var first *process
	for range twined {
		p, err := twinedProcess(ctx, opts, first)
		if err != nil {
			return nil, err
		}
		if first == nil {
			first = p
		}
		c.nodes = append(c.nodes, p)
	}
	for range node {
		p, err := nodeProcess(ctx, opts, "check-cluster-server.mjs", c.redis.url())
		if err != nil {
			return nil, err
		}
		if twined == 0 {
			c.nodes = append(c.nodes, p)
		} else {
			c.others = append(c.others, p)
		}
	}
	if c.clients, err = balance(addrsOf(c.nodes)); err != nil {
		return nil, err
	}
	if len(c.others) > 0 {
		if c.publishers, err = routeByKey(c.clients.addr(), c.others[0].addr, uint32(len(c.all()))); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func addrsOf(nodes []*process) (addrs []string) {
	for _, p := range nodes {
		addrs = append(addrs, p.addr)
	}
	return addrs
}

func (c *cluster) all() []*process { return append(append([]*process(nil), c.nodes...), c.others...) }

func (c *cluster) Name() string         { return c.name }
func (c *cluster) Addr() string         { return c.clients.addr() }
func (c *cluster) Key() string          { return key }
func (c *cluster) Failed() <-chan error { return c.failed }

func (c *cluster) PublisherAddr() string {
	if c.publishers != nil {
		return c.publishers.addr()
	}
	return c.clients.addr()
}

// Start starts the nodes that do not run.
func (c *cluster) Start(ctx context.Context) error {
	c.mu.Lock()
	waiting := c.stopped
	c.stopped = nil
	c.mu.Unlock()
	if waiting == nil {
		waiting = c.all()
	}
	for _, p := range waiting {
		if err := p.Start(ctx); err != nil {
			return err
		}
		c.clients.setDown(p.addr, false)
		c.watch(p)
	}
	return nil
}

// watch passes on that a node ended by itself.
func (c *cluster) watch(p *process) {
	p.mu.Lock()
	gone := p.gone
	p.mu.Unlock()
	go func() {
		<-gone
		select {
		case err := <-p.failed:
			select {
			case c.failed <- err:
			default:
			}
		default:
		}
	}()
}

// Stop ends one node, another one each time. The others go on.
func (c *cluster) Stop(ctx context.Context, signal syscall.Signal) error {
	c.mu.Lock()
	p := c.nodes[c.turn%len(c.nodes)]
	c.turn++
	c.stopped = append(c.stopped, p)
	c.mu.Unlock()
	if signal == syscall.SIGTERM {
		c.clients.setDown(p.addr, true) // a load balancer is told before
	}
	err := p.Stop(ctx, signal)
	c.clients.setDown(p.addr, true)
	return err
}

// FailOver kills the primary Redis, whose replica takes over.
func (c *cluster) FailOver(ctx context.Context) error { return c.redis.failOver(ctx) }

func (c *cluster) Close() error {
	var errs []error
	if c.publishers != nil {
		c.publishers.close()
	}
	if c.clients != nil {
		c.clients.close()
	}
	for _, p := range c.all() {
		errs = append(errs, p.Close())
	}
	if c.redis != nil {
		errs = append(errs, c.redis.close())
	}
	return errors.Join(errs...)
}

var _ interface {
	Target
	FailOver(ctx context.Context) error
} = (*cluster)(nil)
