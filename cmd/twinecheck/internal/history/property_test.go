package history

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// world is a correct server, its publishers and its clients, whose history is written in one go. Each client reads the logs
// of its rooms at its own pace.
type world struct {
	h       *History
	now     time.Duration
	logs    [][]Delivery // of each room, At is not used
	readers []reader
	open    []*Delivery // of each publisher: under way
}

type reader struct {
	rooms    map[uint16]bool
	position map[uint16]int
}

func (w *world) tick() time.Duration { w.now++; return w.now }

// publishStep is one step of a publisher: begin, be written to the log, be accepted.
func (w *world) publishStep(t *rapid.T, publisher int) {
	switch m := w.open[publisher]; {
	case m == nil:
		room := rapid.Uint16Range(0, uint16(len(w.logs)-1)).Draw(t, "room")
		number := w.h.Publishers[publisher].Begin(room, w.tick())
		w.open[publisher] = &Delivery{Publisher: uint16(publisher), Number: number, Room: room}
	case m.At == 0:
		m.At = 1 // written
		w.logs[m.Room] = append(w.logs[m.Room], *m)
	default:
		w.h.Publishers[publisher].Accept(m.Number, w.tick())
		w.open[publisher] = nil
	}
}

func (w *world) subscribe(client int, room uint16) {
	r := &w.readers[client]
	if r.rooms[room] {
		return
	}
	w.h.Clients[client].Note(Event{At: w.tick(), Kind: Asked, Room: room})
	r.rooms[room] = true
	r.position[room] = len(w.logs[room])
	w.h.Clients[client].Note(Event{At: w.tick(), Kind: Subscribed, Room: room})
}

// read delivers up to n messages of a room.
func (w *world) read(client int, room uint16, n int) {
	r := &w.readers[client]
	for ; r.rooms[room] && n > 0 && r.position[room] < len(w.logs[room]); n-- {
		d := w.logs[room][r.position[room]]
		r.position[room]++
		d.At = w.tick()
		w.h.Clients[client].Deliver(d)
	}
}

// reconnect is with the same session, or with a new one: then all that was not read is gone, and the client is told.
func (w *world) reconnect(client int, recovered bool) {
	w.h.Clients[client].Note(Event{At: w.tick(), Kind: Disconnected})
	kind := Recovered
	if !recovered {
		kind = Connected
		clear(w.readers[client].rooms)
	}
	w.h.Clients[client].Note(Event{At: w.tick(), Kind: kind})
}

func drawWorld(t *rapid.T) *world {
	rooms, publishers, clients := 2, 3, 3
	w := &world{h: New([]string{"a", "b"}, publishers, clients), logs: make([][]Delivery, rooms), open: make([]*Delivery, publishers)}
	for client := range clients {
		w.readers = append(w.readers, reader{rooms: map[uint16]bool{}, position: map[uint16]int{}})
		w.h.Clients[client].Note(Event{At: w.tick(), Kind: Connected})
		w.subscribe(client, uint16(client%rooms))
	}
	client := rapid.IntRange(0, clients-1)
	room := rapid.Uint16Range(0, uint16(rooms-1))
	for range rapid.IntRange(20, 200).Draw(t, "steps") {
		switch rapid.IntRange(0, 20).Draw(t, "step") {
		case 0:
			w.subscribe(client.Draw(t, "client"), room.Draw(t, "room"))
		case 1:
			w.reconnect(client.Draw(t, "client"), true)
		case 2:
			w.reconnect(client.Draw(t, "client"), false)
		case 3, 4, 5, 6, 7, 8:
			w.read(client.Draw(t, "client"), room.Draw(t, "room"), rapid.IntRange(1, 5).Draw(t, "n"))
		default:
			w.publishStep(t, rapid.IntRange(0, publishers-1).Draw(t, "publisher"))
		}
	}
	for client := range clients {
		for room := range rooms {
			w.read(client, uint16(room), len(w.logs[room]))
		}
	}
	return w
}

// A correct server is never accused.
func TestCorrectHistoriesPass(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		if r := Verify(drawWorld(t).h); r.Violations() != 0 {
			t.Fatalf("accused: %+v", r)
		}
	})
}

// Each flaw, put somewhere into a correct history, is found, and nothing else is.
func TestFlawsAreFound(t *testing.T) {
	type flaw struct {
		name string
		// apply changes the deliveries of client c at i and reports whether it could.
		apply func(w *world, c, i int) bool
		count func(r *Report) int
	}
	remove := func(l *ClientLog, i int) Delivery {
		d := l.deliveries[i]
		l.deliveries = append(l.deliveries[:i:i], l.deliveries[i+1:]...)
		for j := range l.events {
			if l.events[j].Seen > i {
				l.events[j].Seen--
			}
		}
		return d
	}
	for _, f := range []flaw{
		{"lost", func(w *world, c, i int) bool {
			// Only what was subscribed to before it was published, and only without a new session later on, is owed.
			l := w.h.Clients[c]
			d := l.deliveries[i]
			m := w.h.Publishers[d.Publisher].messages[d.Number]
			var since time.Duration
			for _, e := range l.events {
				if e.Kind == Connected {
					since = Never
				}
				if e.Kind == Subscribed && e.Room == d.Room {
					since = e.At
				}
			}
			if !m.Accepted() || since >= m.Start {
				return false
			}
			remove(l, i)
			return true
		}, func(r *Report) int { return r.Lost }},
		{"twice", func(w *world, c, i int) bool {
			l := w.h.Clients[c]
			l.Deliver(Delivery{At: w.tick(), Publisher: l.deliveries[i].Publisher, Number: l.deliveries[i].Number, Room: l.deliveries[i].Room})
			return true
		}, func(r *Report) int { return r.Twice }},
		{"disorder", func(w *world, c, i int) bool {
			// It comes at the very end, after at least one that was published when it had been accepted.
			l := w.h.Clients[c]
			d := l.deliveries[i]
			m := w.h.Publishers[d.Publisher].messages[d.Number]
			later := false
			for _, other := range l.deliveries[i+1:] {
				later = later || other.Room == d.Room && w.h.Publishers[other.Publisher].messages[other.Number].Start > m.End
			}
			newSession := false
			for _, e := range l.events {
				newSession = newSession || e.Kind == Connected && e.Seen > i
			}
			if !later || newSession {
				return false
			}
			remove(l, i)
			d.At = w.tick()
			l.Deliver(d)
			return true
		}, func(r *Report) int { return r.Disorder }},
		{"unpublished", func(w *world, c, i int) bool {
			d := w.h.Clients[c].deliveries[i]
			d.At, d.Number = w.tick(), 1_000_000
			w.h.Clients[c].Deliver(d)
			return true
		}, func(r *Report) int { return r.Unpublished }},
		{"foreign", func(w *world, c, i int) bool {
			// Client c gets what only another one asked for.
			d := w.h.Clients[c].deliveries[i]
			for other, l := range w.h.Clients {
				asked := false
				for _, e := range l.events {
					asked = asked || e.Kind == Asked && e.Room == d.Room
				}
				if !asked {
					d.At = w.tick()
					w.h.Clients[other].Deliver(d)
					return true
				}
			}
			return false
		}, func(r *Report) int { return r.Foreign }},
	} {
		t.Run(f.name, func(t *testing.T) {
			applied := 0
			rapid.Check(t, func(t *rapid.T) {
				w := drawWorld(t)
				c := rapid.IntRange(0, len(w.h.Clients)-1).Draw(t, "flawed client")
				n := len(w.h.Clients[c].deliveries)
				if n == 0 || !f.apply(w, c, rapid.IntRange(0, n-1).Draw(t, "flawed delivery")) {
					return
				}
				applied++
				r := Verify(w.h)
				// Clients that disagree do not say who of them is wrong, so one displaced message may be blamed on others.
				found := f.count(r)
				if found < 1 || found > 1 && f.name != "disorder" || r.Violations() != found {
					t.Fatalf("found %+v", r)
				}
			})
			if applied == 0 {
				t.Error("no history had a place for the flaw")
			}
		})
	}
}
