package redislog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/twine-realtime/twine/recovery"
)

// PeersOptions describe a Peers. The zero value is useful.
type PeersOptions struct {
	Prefix string // of all keys and channels; zero: "twine:"
	// Info is what the other servers are told about this one, such as its address.
	Info string
	// Lease is how long a server that is not heard of counts as alive. It says so
	// itself three times as often. Zero: 15 s.
	Lease time.Duration
	// MaxRequests bounds how many requests of others are answered at a time; more
	// wait. Zero: 1,024.
	MaxRequests int
	// Timeout bounds each call of Redis, and how long the answer to a request may
	// take. Zero: 5 s.
	Timeout time.Duration
	Logger  *slog.Logger // nil: slog.Default
}

// Peer is a server of the cluster.
type Peer struct {
	Name string
	Info string
}

// Peers knows the servers of a cluster and lets them ask each other questions, by
// Redis pub/sub. It implements recovery.Peers. Its methods may be called
// concurrently.
//
// All servers are in one hash, each with the time at which its lease ends, by the
// clock of Redis. A server that has lost Redis for longer than its lease counts as
// gone until it is back.
type Peers struct {
	rdb  redis.UniversalClient
	opts PeersOptions
	name string

	pubsub *redis.PubSub
	slots  chan struct{} // one for each request that is being answered

	mu      sync.Mutex
	asked   uint64
	waiting map[uint64]chan []byte // for answers, by the number of the request
	silent  map[string]time.Time   // since when nobody has listened under a name, as far as was tried
	serve   func(ctx context.Context, request []byte) []byte

	base    context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup
	serving sync.WaitGroup // requests that are being answered; grows under mu
}

var _ recovery.Peers = (*Peers)(nil)

// peerMessage is what goes over the channels.
type peerMessage struct {
	From     string `json:"from"`
	Number   uint64 `json:"number"`
	IsAnswer bool   `json:"answer,omitempty"`
	Body     []byte `json:"body"`
}

// NewPeers makes this process a server of the cluster, under a name of its own,
// until Close.
func NewPeers(ctx context.Context, rdb redis.UniversalClient, opts PeersOptions) (*Peers, error) {
	if opts.Prefix == "" {
		opts.Prefix = "twine:"
	}
	setDefault(&opts.Lease, 15*time.Second)
	setDefault(&opts.MaxRequests, 1024)
	setDefault(&opts.Timeout, 5*time.Second)
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	p := &Peers{
		rdb: rdb, opts: opts, name: NewUID(),
		slots:   make(chan struct{}, opts.MaxRequests),
		waiting: make(map[uint64]chan []byte),
		silent:  make(map[string]time.Time),
	}
	p.pubsub = rdb.Subscribe(ctx, p.channel(p.name))
	// Nobody may hear of this server before it listens.
	if _, err := p.pubsub.Receive(ctx); err != nil {
		_ = p.pubsub.Close()
		return nil, fmt.Errorf("failed to join the cluster: %w", err)
	}
	if err := p.renew(ctx); err != nil {
		_ = p.pubsub.Close()
		return nil, fmt.Errorf("failed to join the cluster: %w", err)
	}
	p.base, p.cancel = context.WithCancel(context.Background())
	p.running.Go(p.listen)
	p.running.Go(p.stayAlive)
	return p, nil
}

func (p *Peers) channel(name string) string { return p.opts.Prefix + "peer:" + name }
func (p *Peers) key() string                { return p.opts.Prefix + "peers" }

// Name implements recovery.Peers.
func (p *Peers) Name() string { return p.name }

// peersHead: KEYS[1] is the hash of all servers. Each value is the time at which
// the lease ends, a space, and the server's info.
const peersHead = `
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
local function alive(value)
  local ends = tonumber(string.match(value, '^(%d+)'))
  return ends and ends > now
end
`

// renewScript renews the lease of ARGV[1] for ARGV[2] ms, with the info ARGV[3],
// and forgets those that have been gone for long.
var renewScript = redis.NewScript(peersHead + `
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now + tonumber(ARGV[2])) .. ' ' .. ARGV[3])
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local ends = tonumber(string.match(all[i + 1], '^(%d+)'))
  if not ends or ends + 600000 < now then redis.call('HDEL', KEYS[1], all[i]) end
end
return 1
`)

// listScript returns the names and infos of those that are alive.
var listScript = redis.NewScript(peersHead + `
local out, all = {}, redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if alive(all[i + 1]) then
    out[#out + 1] = all[i]
    out[#out + 1] = string.match(all[i + 1], '^%d+ (.*)$') or ''
  end
end
return out
`)

func (p *Peers) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.opts.Timeout)
	defer cancel()
	return renewScript.Run(ctx, p.rdb, []string{p.key()}, p.name, p.opts.Lease.Milliseconds(), p.opts.Info).Err()
}

// List returns the servers that are alive, this one included.
func (p *Peers) List(ctx context.Context) ([]Peer, error) {
	ctx, cancel := context.WithTimeout(ctx, p.opts.Timeout)
	defer cancel()
	flat, err := listScript.Run(ctx, p.rdb, []string{p.key()}).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("failed to list the servers of the cluster: %w", err)
	}
	peers := make([]Peer, 0, len(flat)/2)
	for i := 0; i+1 < len(flat); i += 2 {
		peers = append(peers, Peer{flat[i], flat[i+1]})
	}
	return peers, nil
}

// stayAlive is the goroutine that renews the lease.
func (p *Peers) stayAlive() {
	tick := time.NewTicker(p.opts.Lease / 3)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-tick.C:
		case <-p.base.Done():
			return
		}
		err := p.renew(p.base)
		if err != nil && !failing && p.base.Err() == nil {
			p.opts.Logger.Warn("recovery: failed to tell the cluster that this server is alive", "error", err)
		}
		failing = err != nil
	}
}

// listen is the goroutine that takes what others send. The client subscribes anew
// whenever its connection fails.
func (p *Peers) listen() {
	failures := 0
	for p.base.Err() == nil {
		m, err := p.pubsub.ReceiveMessage(p.base)
		if err != nil {
			failures++
			pause := time.NewTimer(min(time.Duration(failures)*50*time.Millisecond, time.Second))
			select {
			case <-pause.C:
			case <-p.base.Done():
				pause.Stop()
			}
			continue
		}
		failures = 0
		var message peerMessage
		if err := json.Unmarshal([]byte(m.Payload), &message); err != nil {
			p.opts.Logger.Warn("recovery: malformed message of another server", "error", err)
			continue
		}
		if message.IsAnswer {
			p.mu.Lock()
			waiting := p.waiting[message.Number]
			delete(p.waiting, message.Number)
			p.mu.Unlock()
			if waiting != nil {
				waiting <- message.Body // there is room for one
			}
			continue
		}
		p.answer(&message)
	}
}

// answer answers a request, on a goroutine of its own.
func (p *Peers) answer(q *peerMessage) {
	select {
	case p.slots <- struct{}{}:
	case <-p.base.Done():
		return
	}
	p.mu.Lock()
	serve := p.serve
	if serve != nil {
		p.serving.Add(1)
	}
	p.mu.Unlock()
	if serve == nil {
		<-p.slots
		return
	}
	go func() {
		defer p.serving.Done()
		defer func() { <-p.slots }()
		ctx, cancel := context.WithTimeout(p.base, p.opts.Timeout)
		defer cancel()
		a := peerMessage{From: p.name, Number: q.Number, IsAnswer: true, Body: serve(ctx, q.Body)}
		if _, err := p.send(ctx, q.From, &a); err != nil && p.base.Err() == nil {
			p.opts.Logger.Warn("recovery: failed to answer another server", "error", err)
		}
	}()
}

func (p *Peers) send(ctx context.Context, to string, m *peerMessage) (receivers int64, err error) {
	data, err := json.Marshal(m)
	if err != nil {
		return 0, err
	}
	return p.rdb.Publish(ctx, p.channel(to), data).Result()
}

// Serve implements recovery.Peers.
func (p *Peers) Serve(f func(ctx context.Context, request []byte) []byte) (stop func()) {
	p.mu.Lock()
	p.serve = f
	p.mu.Unlock()
	return func() {
		p.mu.Lock()
		p.serve = nil
		p.mu.Unlock()
		p.serving.Wait()
	}
}

// silence is how long a server whose lease has not ended, but that does not listen,
// may need to get its connection to Redis back: until then Ask says ErrSilent.
const silence = time.Second

// Ask implements recovery.Peers. Who listens is known at once from a single Redis;
// from a Redis Cluster, only when the lease has ended.
func (p *Peers) Ask(ctx context.Context, name string, request []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, p.opts.Timeout)
	defer cancel()
	answer := make(chan []byte, 1)
	p.mu.Lock()
	p.asked++
	number := p.asked
	p.waiting[number] = answer
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.waiting, number)
		p.mu.Unlock()
	}()
	q := peerMessage{From: p.name, Number: number, Body: request}
	receivers, err := p.send(ctx, name, &q)
	if err != nil {
		return nil, fmt.Errorf("failed to ask server %s: %w", name, err)
	}
	_, sharded := p.rdb.(*redis.ClusterClient)
	heard := receivers > 0 || sharded
	if silentFor := p.silence(name, heard); !heard {
		alive, err := p.alive(ctx, name)
		switch {
		case err != nil:
			return nil, err
		case !alive || silentFor >= silence:
			return nil, fmt.Errorf("server %s: %w", name, recovery.ErrNoPeer)
		}
		return nil, fmt.Errorf("server %s: %w", name, recovery.ErrSilent)
	}
	poll := time.NewTicker(p.opts.Lease / 15)
	defer poll.Stop()
	for {
		select {
		case a := <-answer:
			return a, nil
		case <-poll.C:
			if alive, err := p.alive(ctx, name); err == nil && !alive {
				return nil, fmt.Errorf("server %s: %w", name, recovery.ErrNoPeer)
			}
		case <-p.base.Done():
			return nil, recovery.ErrClosed
		case <-ctx.Done():
			return nil, fmt.Errorf("server %s does not answer: %w", name, ctx.Err())
		}
	}
}

// silence notes whether somebody listens under a name, and returns since how long
// nobody has.
func (p *Peers) silence(name string, heard bool) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	since, silent := p.silent[name]
	switch {
	case heard:
		delete(p.silent, name)
	case !silent:
		if len(p.silent) >= 1000 {
			clear(p.silent)
		}
		p.silent[name] = time.Now()
	default:
		return time.Since(since)
	}
	return 0
}

func (p *Peers) alive(ctx context.Context, name string) (bool, error) {
	all, err := p.List(ctx)
	if err != nil {
		return false, err
	}
	for _, peer := range all {
		if peer.Name == name {
			return true, nil
		}
	}
	return false, nil
}

// Close takes this server out of the cluster and ends its goroutines. The client
// stays open.
func (p *Peers) Close(ctx context.Context) error {
	p.cancel()
	err := errors.Join(p.rdb.HDel(ctx, p.key(), p.name).Err(), p.pubsub.Close())
	p.running.Wait()
	p.serving.Wait()
	if err != nil {
		return fmt.Errorf("failed to leave the cluster: %w", err)
	}
	return nil
}
