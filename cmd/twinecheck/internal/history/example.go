package history

import (
	"fmt"
	"slices"
)

// name returns how a message is called in reports.
func (v *verifier) name(id int) string {
	publisher, found := slices.BinarySearch(v.base, id)
	if !found {
		publisher--
	}
	// A publisher without messages has the same base as the next one.
	for publisher+1 < len(v.base) && v.base[publisher+1] == id {
		publisher++
	}
	return fmt.Sprintf("message %d/%d", publisher, id-v.base[publisher])
}

// around is how many deliveries before and after a violation are shown.
const around = 4

// example keeps a violation to show, unless there are enough of its kind. id may be nil; at is a place in the client's
// deliveries.
func (v *verifier) example(kind string, number int, id *int, at int, detail string) {
	if v.shown[kind] == examplesOfAKind {
		return
	}
	v.shown[kind]++
	e := Example{Kind: kind, Client: number, Detail: detail}
	if id != nil {
		m := v.all[*id]
		e.Room, e.Message = v.rooms[m.Room], v.name(*id)
		if m.Accepted() {
			e.Detail = fmt.Sprintf("published at %s, accepted at %s; %s", m.Start, m.End, detail)
		} else {
			e.Detail = fmt.Sprintf("published at %s, never accepted; %s", m.Start, detail)
		}
	}
	c := &v.clients[number]
	from, to := max(at-around, 0), min(at+around+1, len(c.deliveries))
	events := c.events
	for len(events) > 0 && events[0].Seen < from {
		events = events[1:]
	}
	for i := from; i <= to; i++ {
		for len(events) > 0 && events[0].Seen <= i {
			e.History = append(e.History, v.eventLine(events[0]))
			events = events[1:]
		}
		if i == to {
			break
		}
		d := c.deliveries[i]
		line := fmt.Sprintf("%s  message %d/%d", d.At, d.Publisher, d.Number)
		if int(d.Room) < len(v.rooms) {
			line += " in " + v.rooms[d.Room]
		}
		if i == at && kind != "lost" {
			line += "  <- " + kind
		}
		e.History = append(e.History, line)
	}
	v.report.Examples = append(v.report.Examples, e)
}

func (v *verifier) eventLine(e Event) string {
	line := fmt.Sprintf("%s  %s", e.At, e.Kind)
	switch {
	case e.Kind >= Asked && e.Kind <= Gap && int(e.Room) < len(v.rooms):
		line += " " + v.rooms[e.Room]
	case e.Text != "":
		line += " (" + e.Text + ")"
	}
	return line
}
