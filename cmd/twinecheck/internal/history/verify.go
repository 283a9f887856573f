package history

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Report is the judgement over a history.
type Report struct {
	Messages   int `json:"messages"` // that publishers began to publish
	Accepted   int `json:"accepted"`
	Deliveries int `json:"deliveries"`
	// Expected counts the deliveries that were owed: of each accepted message to each client whose subscription had
	// been confirmed before the publish started.
	Expected int `json:"expected"`
	// Told counts those among them that did not come, but whose client was told so.
	Told int `json:"told"`

	Lost        int `json:"lost"`        // expected, never came, and the client was not told
	Twice       int `json:"twice"`       // came again
	Disorder    int `json:"disorder"`    // came after a message that is later in the room's order
	Unpublished int `json:"unpublished"` // nobody published it, or not like this
	Foreign     int `json:"foreign"`     // of a room that the client had not asked for
	Garbled     int `json:"garbled"`     // what no server may send

	Recovered   int `json:"recovered"`   // reconnects with the old session
	Unrecovered int `json:"unrecovered"` // reconnects with a new session

	// Examples are the first few violations of each kind, for a person to read.
	Examples []Example `json:"examples,omitempty"`
}

// Violations returns how many promises were broken.
func (r *Report) Violations() int {
	return r.Lost + r.Twice + r.Disorder + r.Unpublished + r.Foreign + r.Garbled
}

// Example is one violation, and what its client saw around it.
type Example struct {
	Kind    string   `json:"kind"`
	Client  int      `json:"client"`
	Room    string   `json:"room,omitempty"`
	Message string   `json:"message,omitempty"`
	Detail  string   `json:"detail"`
	History []string `json:"history,omitempty"`
}

// examplesOfAKind bounds Report.Examples.
const examplesOfAKind = 3

// client is a ClientLog that grows no more.
type client struct {
	deliveries []Delivery
	events     []Event
}

// verifier works with messages by one dense number, the place in all.
type verifier struct {
	rooms   []string
	all     []Message
	base    []int   // of each publisher: where its messages begin in all
	byRoom  [][]int // of each room: its messages by start
	clients []client
	report  *Report
	shown   map[string]int
}

// Verify judges h as it is now.
func Verify(h *History) *Report {
	v := &verifier{rooms: h.Rooms, byRoom: make([][]int, len(h.Rooms)), report: &Report{}, shown: map[string]int{}}
	// Clients first: then each message that a client has seen is in its publisher's log, taken later.
	for _, c := range h.Clients {
		v.clients = append(v.clients, c.snapshot())
	}
	for _, p := range h.Publishers {
		v.base = append(v.base, len(v.all))
		v.all = append(v.all, p.snapshot()...)
	}
	v.report.Messages = len(v.all)
	for id, m := range v.all {
		v.byRoom[m.Room] = append(v.byRoom[m.Room], id)
		if m.Accepted() {
			v.report.Accepted++
		}
	}
	for _, ids := range v.byRoom {
		slices.SortFunc(ids, func(a, b int) int { return cmp.Compare(v.all[a].Start, v.all[b].Start) })
	}
	sequences := make([]sequence, len(v.clients))
	for i := range v.clients {
		sequences[i] = v.client(i)
	}
	v.order(sequences)
	return v.report
}

// seen is a message at its first delivery.
type seen struct {
	id int // in verifier.all
	at int // in client.deliveries
}

// sequence is what one client saw, duplicates left out, by room.
type sequence [][]seen

// client judges all but the order of what one client saw.
func (v *verifier) client(number int) sequence {
	c := &v.clients[number]
	v.report.Deliveries += len(c.deliveries)
	asked := make([]int, len(v.rooms)) // from which delivery on; -1 never
	for i := range asked {
		asked[i] = -1
	}
	for i, e := range c.events {
		switch e.Kind {
		case Asked:
			if asked[e.Room] < 0 {
				asked[e.Room] = e.Seen
			}
		case Recovered:
			v.report.Recovered++
		case Connected:
			if slices.ContainsFunc(c.events[:i], func(e Event) bool { return e.Kind <= Recovered }) {
				v.report.Unrecovered++
			}
		case Garbled:
			v.report.Garbled++
			v.example("garbled", number, nil, e.Seen, e.Text)
		}
	}

	bySequence := make(sequence, len(v.rooms))
	first := map[int]int{} // message → its first delivery
	for at, d := range c.deliveries {
		id, ok := v.find(d)
		if !ok {
			v.report.Unpublished++
			v.example("unpublished", number, nil, at, fmt.Sprintf("message %d/%d in room %d was never published like this", d.Publisher, d.Number, d.Room))
			continue
		}
		if before, again := first[id]; again {
			v.report.Twice++
			v.example("twice", number, &id, at, fmt.Sprintf("first delivered at %s", c.deliveries[before].At))
			continue
		}
		first[id] = at
		if asked[d.Room] < 0 || at < asked[d.Room] {
			v.report.Foreign++
			v.example("foreign", number, &id, at, "the client had not asked for the room")
			continue
		}
		bySequence[d.Room] = append(bySequence[d.Room], seen{id, at})
	}
	for room := range v.rooms {
		if asked[room] >= 0 {
			v.missing(number, uint16(room), first, bySequence[room])
		}
	}
	return bySequence
}

// find returns the message that was delivered, if it is one.
func (v *verifier) find(d Delivery) (id int, ok bool) {
	if int(d.Publisher) >= len(v.base) {
		return 0, false
	}
	end := len(v.all)
	if int(d.Publisher)+1 < len(v.base) {
		end = v.base[d.Publisher+1]
	}
	id = v.base[d.Publisher] + int(d.Number)
	if id >= end || v.all[id].Room != d.Room || d.At < v.all[id].Start {
		return 0, false
	}
	return id, true
}

// interval is a time for which a client is subscribed to a room as far as it knows. It ends when the client is told that
// messages are missing.
type interval struct {
	from, to       time.Duration // to is Never if the client was not told anything
	fromAt, untilA int           // the same as places in client.deliveries
}

func (c *client) intervals(room uint16) []interval {
	var all []interval
	open := false
	end := func(e Event) {
		last := &all[len(all)-1]
		last.to, last.untilA = e.At, e.Seen
		open = false
	}
	begin := func(e Event) {
		all = append(all, interval{from: e.At, to: Never, fromAt: e.Seen, untilA: len(c.deliveries)})
		open = true
	}
	for _, e := range c.events {
		switch {
		case e.Kind == Subscribed && e.Room == room && !open:
			begin(e)
		case e.Kind == Connected && open:
			end(e)
		case e.Kind == Gap && (e.Room == room || e.Room == AllRooms) && open:
			end(e)
			begin(e) // the subscription itself is not affected
		}
	}
	return all
}

// missing looks for messages of a room that a client should have got.
func (v *verifier) missing(number int, room uint16, first map[int]int, sequence []seen) {
	c := &v.clients[number]
	intervals := c.intervals(room)
	if len(intervals) == 0 {
		return
	}
	// A client that is told "something is missing" knows what it got until then. Told does not cover a hole in that: a
	// message that was accepted before another one, which did arrive, had even been published.
	latest := make([]time.Duration, len(intervals))
	for i, in := range intervals {
		for _, s := range sequence {
			if s.at >= in.fromAt && s.at < in.untilA {
				latest[i] = max(latest[i], v.all[s.id].Start)
			}
		}
	}
	current := 0
	for _, id := range v.byRoom[room] {
		m := v.all[id]
		if !m.Accepted() || m.Start <= intervals[0].from {
			continue
		}
		v.report.Expected++
		if _, ok := first[id]; ok {
			continue
		}
		for current+1 < len(intervals) && intervals[current+1].from < m.Start {
			current++
		}
		in := intervals[current]
		if in.to != Never && m.End >= latest[current] {
			v.report.Told++
			continue
		}
		v.report.Lost++
		at, _ := slices.BinarySearchFunc(c.deliveries, m.Start, func(d Delivery, t time.Duration) int { return cmp.Compare(d.At, t) })
		v.example("lost", number, &id, at, fmt.Sprintf("the client was subscribed since %s", in.from))
	}
}
