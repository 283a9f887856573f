package history

import (
	"strings"
	"testing"
	"time"
)

// script writes a history by hand. Room 0 is "a", room 1 is "b". Each step takes a millisecond.
type script struct {
	h   *History
	now time.Duration
}

func newScript(publishers, clients int) *script {
	return &script{h: New([]string{"a", "b"}, publishers, clients)}
}

func (s *script) tick() time.Duration { s.now += time.Millisecond; return s.now }

func (s *script) begin(publisher int, room uint16) uint32 {
	return s.h.Publishers[publisher].Begin(room, s.tick())
}

func (s *script) accept(publisher int, number uint32) {
	s.h.Publishers[publisher].Accept(number, s.tick())
}

// publish begins and accepts.
func (s *script) publish(publisher int, room uint16) uint32 {
	number := s.begin(publisher, room)
	s.accept(publisher, number)
	return number
}

func (s *script) deliver(client, publisher int, number uint32, room uint16) {
	s.h.Clients[client].Deliver(Delivery{At: s.tick(), Publisher: uint16(publisher), Number: number, Room: room})
}

func (s *script) note(client int, kind Kind, room uint16) {
	s.h.Clients[client].Note(Event{At: s.tick(), Kind: kind, Room: room})
}

// join connects a client and subscribes it.
func (s *script) join(client int, rooms ...uint16) {
	s.note(client, Connected, 0)
	for _, room := range rooms {
		s.note(client, Asked, room)
		s.note(client, Subscribed, room)
	}
}

func TestVerify(t *testing.T) {
	for _, test := range []struct {
		name       string
		publishers int
		clients    int
		play       func(s *script)
		want       Report
	}{
		{"everything comes", 1, 2, func(s *script) {
			s.join(0, 0, 1)
			s.join(1, 1)
			a, b := s.publish(0, 0), s.publish(0, 1)
			s.deliver(0, 0, a, 0)
			s.deliver(0, 0, b, 1)
			s.deliver(1, 0, b, 1)
		}, Report{Messages: 2, Accepted: 2, Deliveries: 3, Expected: 3}},

		{"a message never comes", 1, 1, func(s *script) {
			s.join(0, 0)
			s.publish(0, 0)
		}, Report{Messages: 1, Accepted: 1, Expected: 1, Lost: 1}},

		{"a message never comes, and the client came back with its old session", 1, 1, func(s *script) {
			s.join(0, 0)
			s.note(0, Disconnected, 0)
			s.publish(0, 0)
			s.note(0, Recovered, 0)
			m := s.publish(0, 0)
			s.deliver(0, 0, m, 0)
		}, Report{Messages: 2, Accepted: 2, Deliveries: 1, Expected: 2, Lost: 1, Recovered: 1}},

		{"the last message never comes", 1, 1, func(s *script) {
			s.join(0, 0)
			m := s.publish(0, 0)
			s.deliver(0, 0, m, 0)
			s.publish(0, 0)
		}, Report{Messages: 2, Accepted: 2, Deliveries: 1, Expected: 2, Lost: 1}},

		{"published before the subscription was confirmed", 1, 1, func(s *script) {
			s.note(0, Connected, 0)
			s.note(0, Asked, 0)
			s.publish(0, 0)
			early := s.begin(0, 0)
			s.note(0, Subscribed, 0)
			s.accept(0, early)
		}, Report{Messages: 2, Accepted: 2}},

		{"never accepted, and does not come", 1, 1, func(s *script) {
			s.join(0, 0)
			s.begin(0, 0)
		}, Report{Messages: 1}},

		{"never accepted, and comes once", 1, 1, func(s *script) {
			s.join(0, 0)
			m := s.begin(0, 0)
			s.deliver(0, 0, m, 0)
		}, Report{Messages: 1, Deliveries: 1}},

		{"never accepted, and comes twice", 1, 1, func(s *script) {
			s.join(0, 0)
			m := s.begin(0, 0)
			s.deliver(0, 0, m, 0)
			s.deliver(0, 0, m, 0)
		}, Report{Messages: 1, Deliveries: 2, Twice: 1}},

		{"twice, with a new session in between", 1, 1, func(s *script) {
			s.join(0, 0)
			m := s.publish(0, 0)
			s.deliver(0, 0, m, 0)
			s.join(0, 0)
			s.deliver(0, 0, m, 0)
		}, Report{Messages: 1, Accepted: 1, Deliveries: 2, Expected: 1, Twice: 1, Unrecovered: 1}},

		{"missed while away, and told by a new session", 1, 1, func(s *script) {
			s.join(0, 0)
			m := s.publish(0, 0)
			s.deliver(0, 0, m, 0)
			s.publish(0, 0)
			s.note(0, Disconnected, 0)
			s.publish(0, 0)
			s.note(0, Connected, 0)
			s.publish(0, 0)
			s.note(0, Asked, 0)
			s.note(0, Subscribed, 0)
			m = s.publish(0, 0)
			s.deliver(0, 0, m, 0)
		}, Report{Messages: 5, Accepted: 5, Deliveries: 2, Expected: 5, Told: 3, Unrecovered: 1}},

		{"a hole before the last delivery is not told by a new session", 1, 1, func(s *script) {
			s.join(0, 0)
			s.publish(0, 0)
			m := s.publish(0, 0)
			s.deliver(0, 0, m, 0)
			s.join(0, 0)
		}, Report{Messages: 2, Accepted: 2, Deliveries: 1, Expected: 2, Lost: 1, Unrecovered: 1}},

		{"missed after the new session was subscribed", 1, 1, func(s *script) {
			s.join(0, 0)
			s.join(0, 0)
			s.publish(0, 0)
		}, Report{Messages: 1, Accepted: 1, Expected: 1, Lost: 1, Unrecovered: 1}},

		{"told of a gap in one room", 1, 1, func(s *script) {
			s.join(0, 0, 1)
			s.note(0, Disconnected, 0)
			s.publish(0, 0)
			s.publish(0, 1)
			s.note(0, Recovered, 0)
			s.note(0, Gap, 0)
			s.publish(0, 0)
		}, Report{Messages: 3, Accepted: 3, Expected: 3, Told: 1, Lost: 2, Recovered: 1}},

		{"told of a gap in all rooms", 1, 1, func(s *script) {
			s.join(0, 0, 1)
			s.publish(0, 0)
			s.publish(0, 1)
			s.note(0, Gap, AllRooms)
		}, Report{Messages: 2, Accepted: 2, Expected: 2, Told: 2}},

		{"one publisher's messages in the wrong order", 1, 1, func(s *script) {
			s.join(0, 0)
			a, b := s.publish(0, 0), s.publish(0, 0)
			s.deliver(0, 0, b, 0)
			s.deliver(0, 0, a, 0)
		}, Report{Messages: 2, Accepted: 2, Deliveries: 2, Expected: 2, Disorder: 1}},

		{"different rooms in any order", 1, 1, func(s *script) {
			s.join(0, 0, 1)
			a, b := s.publish(0, 0), s.publish(0, 1)
			s.deliver(0, 0, b, 1)
			s.deliver(0, 0, a, 0)
		}, Report{Messages: 2, Accepted: 2, Deliveries: 2, Expected: 2}},

		{"two publishers one after the other, in the wrong order", 2, 1, func(s *script) {
			s.join(0, 0)
			a, b := s.publish(0, 0), s.publish(1, 0)
			s.deliver(0, 1, b, 0)
			s.deliver(0, 0, a, 0)
		}, Report{Messages: 2, Accepted: 2, Deliveries: 2, Expected: 2, Disorder: 1}},

		{"two publishers at once, in any order", 2, 2, func(s *script) {
			s.join(0, 0)
			s.join(1, 0)
			a, b := s.begin(0, 0), s.begin(1, 0)
			s.accept(0, a)
			s.accept(1, b)
			for client := range 2 {
				s.deliver(client, 1, b, 0)
				s.deliver(client, 0, a, 0)
			}
		}, Report{Messages: 2, Accepted: 2, Deliveries: 4, Expected: 4}},

		{"two publishers at once, and the clients disagree", 2, 2, func(s *script) {
			s.join(0, 0)
			s.join(1, 0)
			a, b := s.begin(0, 0), s.begin(1, 0)
			s.accept(0, a)
			s.accept(1, b)
			s.deliver(0, 0, a, 0)
			s.deliver(0, 1, b, 0)
			s.deliver(1, 1, b, 0)
			s.deliver(1, 0, a, 0)
		}, Report{Messages: 2, Accepted: 2, Deliveries: 4, Expected: 4, Disorder: 1}},

		{"three clients disagree in a circle", 3, 3, func(s *script) {
			var m [3]uint32
			for i := range 3 {
				s.join(i, 0)
			}
			for i := range 3 {
				m[i] = s.begin(i, 0)
			}
			for i := range 3 {
				s.deliver(i, i, m[i], 0)
				s.deliver(i, (i+1)%3, m[(i+1)%3], 0)
			}
		}, Report{Messages: 3, Deliveries: 6, Disorder: 1}},

		{"never published", 1, 1, func(s *script) {
			s.join(0, 0)
			s.deliver(0, 0, 0, 0)
		}, Report{Deliveries: 1, Unpublished: 1}},

		{"of an unknown publisher", 1, 1, func(s *script) {
			s.join(0, 0)
			s.publish(0, 1)
			s.deliver(0, 1, 0, 0)
		}, Report{Messages: 1, Accepted: 1, Deliveries: 1, Unpublished: 1}},

		{"published to another room", 1, 1, func(s *script) {
			s.join(0, 0)
			m := s.publish(0, 1)
			s.deliver(0, 0, m, 0)
		}, Report{Messages: 1, Accepted: 1, Deliveries: 1, Unpublished: 1}},

		{"delivered before it was published", 1, 1, func(s *script) {
			s.join(0, 0)
			s.deliver(0, 0, 0, 0)
			s.begin(0, 0)
		}, Report{Messages: 1, Deliveries: 1, Unpublished: 1}},

		{"of a room that was not asked for", 1, 1, func(s *script) {
			s.join(0, 0)
			m := s.publish(0, 1)
			s.deliver(0, 0, m, 1)
		}, Report{Messages: 1, Accepted: 1, Deliveries: 1, Foreign: 1}},

		{"of a room that is asked for later", 1, 1, func(s *script) {
			s.join(0, 0)
			m := s.publish(0, 1)
			s.deliver(0, 0, m, 1)
			s.note(0, Asked, 1)
		}, Report{Messages: 1, Accepted: 1, Deliveries: 1, Foreign: 1}},

		{"garbled", 1, 1, func(s *script) {
			s.join(0, 0)
			s.note(0, Garbled, 0)
		}, Report{Garbled: 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScript(test.publishers, test.clients)
			test.play(s)
			got := *Verify(s.h)
			examples := got.Examples
			got.Examples = nil
			if !equal(got, test.want) {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
			if len(examples) == 0 != (got.Violations() == 0) {
				t.Errorf("%d violations and %d examples", got.Violations(), len(examples))
			}
		})
	}
}

func equal(a, b Report) bool {
	a.Examples, b.Examples = nil, nil
	return a.Messages == b.Messages && a.Accepted == b.Accepted && a.Deliveries == b.Deliveries && a.Expected == b.Expected &&
		a.Told == b.Told && a.Lost == b.Lost && a.Twice == b.Twice && a.Disorder == b.Disorder &&
		a.Unpublished == b.Unpublished && a.Foreign == b.Foreign && a.Garbled == b.Garbled &&
		a.Recovered == b.Recovered && a.Unrecovered == b.Unrecovered
}

func TestExamplesShowWhatHappened(t *testing.T) {
	s := newScript(3, 1)
	s.join(0, 0)
	m := s.publish(2, 0)
	for range 10 {
		s.deliver(0, 2, m, 0)
	}
	r := Verify(s.h)
	if len(r.Examples) != examplesOfAKind {
		t.Fatalf("%d examples, want %d", len(r.Examples), examplesOfAKind)
	}
	e := r.Examples[0]
	text := strings.Join(e.History, "\n")
	if e.Kind != "twice" || e.Message != "message 2/0" || e.Room != "a" || !strings.Contains(text, "subscribed a") || strings.Count(text, "<- twice") != 1 {
		t.Errorf("unclear example: %+v", e)
	}
}
