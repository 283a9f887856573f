package main

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// publishing says what is published.
type publishing struct {
	nodes       []node
	cluster     bool
	key         string
	runID       string
	rooms       int
	batch       int           // messages in a request, of different rooms
	unkeyed     bool          // without idempotency keys
	interval    time.Duration // between two messages of a room
	ramp        time.Duration // in which room after room is begun with
	count       int           // messages of each room
	size        int           // bytes of a payload
	concurrency int
	timeout     time.Duration // of a message, with all its tries
	start       time.Time     // of the run
}

// publisher posts messages. Rooms that share a request are a lane. A lane's requests go out one after the other, so that
// the order in each room is known, and those of different lanes at the same time.
type publisher struct {
	publishing
	client *http.Client
	slots  chan struct{}
	lanes  int
	down   []atomic.Int64 // by node, until when it is avoided, in nanoseconds of the clock

	accepted, failed, retries, requests atomic.Int64
	held                                atomic.Int64 // requests after they were due, because the one before was not answered yet

	mu                sync.Mutex
	causes            map[string]int64
	answer            *histogram // from the first try to 201
	late              *histogram // from when a request was due to when this process was ready to post it, if nothing held it
	answers, lateness timeline   // the same, by when they were sent and due
	logs              []laneLog
}

func newPublisher(p publishing) *publisher {
	p.batch = max(p.batch, 1)
	lanes := lanesOf(p.rooms, p.batch, len(p.nodes), p.cluster)
	return &publisher{
		publishing: p,
		client: &http.Client{
			Timeout: p.timeout,
			Transport: &http.Transport{
				DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
				MaxIdleConns:        0,
				MaxIdleConnsPerHost: p.concurrency,
				IdleConnTimeout:     time.Minute,
				DisableCompression:  true,
			},
		},
		slots:  make(chan struct{}, p.concurrency),
		lanes:  lanes,
		down:   make([]atomic.Int64, len(p.nodes)),
		causes: make(map[string]int64),
		answer: newHistogram(), late: newHistogram(),
		logs: make([]laneLog, lanes),
	}
}

// lanesOf returns how many lanes rooms are divided into, in turn. Without a cluster a lane's rooms have to be on one node.
func lanesOf(rooms, batch, nodes int, cluster bool) int {
	lanes := (rooms + batch - 1) / batch
	if !cluster && batch > 1 {
		lanes = (lanes + nodes - 1) / nodes * nodes
	}
	return min(lanes, rooms)
}

// run returns when all was published, or ctx ends.
func (p *publisher) run(ctx context.Context) {
	defer p.client.CloseIdleConnections()
	began := time.Now()
	var lanes sync.WaitGroup
	for l := range p.lanes {
		lanes.Go(func() {
			// The lanes take turns.
			p.lane(ctx, l, began.Add((p.ramp+p.interval)*time.Duration(l)/time.Duration(p.lanes)))
		})
	}
	lanes.Wait()
}

// message is one that is on its way.
type message struct {
	room  int
	start []byte // of each body, in front of its number
	body  []byte // of a request, or of its part in one
}

// lane publishes to the rooms of one lane.
func (p *publisher) lane(ctx context.Context, lane int, began time.Time) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var messages []message
	for room := lane; room < p.rooms; room += p.lanes {
		messages = append(messages, p.newMessage(room))
	}
	for n := range p.count {
		due := began.Add(time.Duration(n) * p.interval)
		wait := time.Until(due)
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		if wait < 0 && n > 0 {
			p.held.Add(1)
		} else {
			p.mu.Lock()
			late := time.Since(due).Microseconds()
			record(p.late, late)
			p.lateness.record(due.Sub(p.start).Microseconds(), late)
			p.mu.Unlock()
		}
		select {
		case p.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		for i := range messages {
			m := &messages[i]
			m.body = p.appendMessage(m.body[:0], m, n, due)
		}
		sent := time.Now()
		p.mu.Lock()
		p.logs[lane].Sent = append(p.logs[lane].Sent, sent.Sub(p.start).Microseconds())
		p.mu.Unlock()
		refused := p.publish(ctx, lane, n, messages)
		<-p.slots
		p.done(lane, n, len(messages), refused, sent)
	}
}

// newMessage prepares what all messages of a room have in common: much of the leader's time goes into their text.
func (p *publisher) newMessage(room int) message {
	m, name := message{room: room}, p.roomName(room)
	switch {
	case p.batch == 1:
		m.start = []byte(`{"room_id":"` + name + `","payload":`)
	case p.unkeyed:
		m.start = []byte(`{"room":"` + name + `","data":`)
	default:
		m.start = []byte(`{"room":"` + name + `","id":"` + p.runID + "-" + strconv.Itoa(room) + "-")
	}
	return m
}

// appendMessage appends what is sent of a message, as the body of POST /api/twine or as an element of a batch.
func (p *publisher) appendMessage(b []byte, m *message, n int, due time.Time) []byte {
	b = append(b, m.start...)
	if p.batch > 1 && !p.unkeyed {
		b = append(strconv.AppendInt(b, int64(n), 10), `","data":`...)
	}
	return append(appendPayload(b, stamp{uint32(n), m.room, due.Sub(p.start).Microseconds()}, p.size), '}')
}

// batchOverhead is how many bytes of a request a message takes besides its payload, at the most.
const batchOverhead = 120

// The names need no escaping.
func (p *publisher) roomName(room int) string { return "load-" + p.runID + "-" + strconv.Itoa(room) }

func (p *publisher) idempotencyKey(room, n int) string {
	return p.runID + "-" + strconv.Itoa(room) + "-" + strconv.Itoa(n)
}

// done takes down what became of a request.
func (p *publisher) done(lane, n, messages int, refused []int, sent time.Time) {
	took := time.Since(sent).Microseconds()
	p.accepted.Add(int64(messages - len(refused)))
	p.failed.Add(int64(len(refused)))
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(refused) < messages {
		record(p.answer, took)
		p.answers.record(sent.Sub(p.start).Microseconds(), took)
	}
	log := &p.logs[lane]
	for _, room := range refused {
		if log.Failed == nil {
			log.Failed = make(map[int][]uint32)
		}
		log.Failed[room] = append(log.Failed[room], uint32(n))
	}
}

func (p *publisher) note(cause string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.causes[cause]; !known && len(p.causes) >= maxCauses {
		cause = "others"
	}
	p.causes[cause]++
}
