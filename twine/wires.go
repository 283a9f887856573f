package twine

import (
	"sync"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/twine/parser"
)

// wires keeps entries of the log in the form in which they are replayed: clients that were cut off together come back
// for the same ones, and then share them. The zero value is empty.
type wires struct {
	mu         sync.Mutex
	young, old map[recovery.Offset]replayable
	bytes      int // of the young ones
}

// replayable is an entry as it is sent, with its offset as text.
type replayable struct {
	wire   *wire
	offset string
}

// wiresBytes bounds each of the two generations.
const wiresBytes = 2 << 20

// of returns an entry of h's log as it is sent.
func (c *wires) of(h *history, e *recovery.Entry) (replayable, error) {
	c.mu.Lock()
	r, ok := c.young[e.Offset]
	if !ok {
		r, ok = c.old[e.Offset]
	}
	c.mu.Unlock()
	if ok {
		return r, nil
	}
	offset := e.Offset.String()
	w, err := h.ns.server.encode(&parser.Packet{Type: parser.Event, Namespace: h.ns.name, Data: e.Data,
		Attachments: e.Attachments}, offset)
	if err != nil {
		return replayable{}, err
	}
	r = replayable{w, offset}
	c.add(e, r)
	return r, nil
}

func (c *wires) add(e *recovery.Entry, r replayable) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bytes += e.Size(); c.young == nil || c.bytes > wiresBytes {
		c.young, c.old, c.bytes = make(map[recovery.Offset]replayable), c.young, e.Size()
	}
	c.young[e.Offset] = r
}
