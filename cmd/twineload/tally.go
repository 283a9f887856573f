package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"sort"
	"strconv"
)

// A message's payload starts with its number in its room (from 0), its room, and the time at which it was due, in
// microseconds after the run's start. The number tells what is missing, doubled or out of order.
type stamp struct {
	number uint32
	room   int
	due    int64
}

// appendPayload appends the JSON object that is published, padded to at least size bytes.
func appendPayload(b []byte, s stamp, size int) []byte {
	start := len(b)
	b = strconv.AppendUint(append(b, `{"n":`...), uint64(s.number), 10)
	b = strconv.AppendInt(append(b, `,"r":`...), int64(s.room), 10)
	b = strconv.AppendInt(append(b, `,"t":`...), s.due, 10)
	const end = `,"p":""}`
	if short := size - (len(b) - start); short > len("}") {
		b = append(b, `,"p":"`...)
		for range max(short-len(end), 0) {
			b = append(b, 'x')
		}
		return append(b, `"}`...)
	}
	return append(b, '}')
}

var messagePrefix = []byte(`["message",`)

// parseMessage returns the stamp of an event's raw JSON array; ok is false if it is not a message of ours.
func parseMessage(data []byte) (s stamp, ok bool) {
	rest, ok := bytes.CutPrefix(data, messagePrefix)
	if !ok {
		return s, false
	}
	n, rest, ok := number(rest, `{"n":`)
	r, rest, ok2 := number(rest, `,"r":`)
	t, rest, ok3 := number(rest, `,"t":`)
	if ok && ok2 && ok3 && len(rest) > 0 && (rest[0] == ',' || rest[0] == '}') {
		return stamp{uint32(n), int(r), t}, true
	}
	return parseReordered(data)
}

// parseReordered is for a server that writes the members in another order.
func parseReordered(data []byte) (s stamp, ok bool) {
	var args []json.RawMessage
	if json.Unmarshal(data, &args) != nil || len(args) < 2 {
		return s, false
	}
	var p struct {
		N *uint32 `json:"n"`
		R *int    `json:"r"`
		T *int64  `json:"t"`
	}
	if json.Unmarshal(args[1], &p) != nil || p.N == nil || p.R == nil || p.T == nil {
		return s, false
	}
	return stamp{*p.N, *p.R, *p.T}, true
}

// number parses the digits after prefix.
func number(b []byte, prefix string) (n int64, rest []byte, ok bool) {
	if len(b) <= len(prefix) || string(b[:len(prefix)]) != prefix {
		return 0, nil, false
	}
	b = b[len(prefix):]
	i := 0
	for ; i < len(b) && i < 18 && b[i] >= '0' && b[i] <= '9'; i++ {
		n = n*10 + int64(b[i]-'0')
	}
	return n, b[i:], i > 0
}

// tally is what one user has received of its room.
type tally struct {
	any        bool
	first      uint32   // number of the first message
	next       uint32   // one more than the greatest number
	received   uint32   // without the doubled
	doubled    uint32   // received once more
	outOfOrder uint32   // received after a later one
	holes      []uint32 // numbers between first and next that have not come
}

// add notes a message. fresh is false if it has come before.
func (t *tally) add(n uint32) (fresh bool) {
	switch {
	case !t.any:
		t.any, t.first, t.next = true, n, n+1
	case n == t.next:
		t.next++
	case n > t.next:
		// A server that skips numbers by the million is broken in a way that needs no list.
		for ; t.next < n && len(t.holes) < maxHoles; t.next++ {
			t.holes = append(t.holes, t.next)
		}
		t.next = n + 1
	case n < t.first:
		// Before what was owed in the first place. It is late all the same.
		for m := n + 1; m < t.first && len(t.holes) < maxHoles; m++ {
			t.holes = append(t.holes, m)
		}
		t.first = n
		t.outOfOrder++
	default:
		i := slices.Index(t.holes, n)
		if i < 0 {
			t.doubled++
			return false
		}
		t.holes = slices.Delete(t.holes, i, i+1)
		t.outOfOrder++
	}
	t.received++
	return true
}

// maxHoles bounds a user's memory.
const maxHoles = 100_000

// laneLog is what was published to the rooms of a lane, each of which got its message with the same request.
type laneLog struct {
	// Sent holds for each message, by number, when it was first sent, in microseconds after the run's start.
	Sent []int64 `json:"sent"`
	// Failed are by room the numbers of those that were never accepted. They may have arrived all the same.
	Failed map[int][]uint32 `json:"failed,omitempty"`
}

// room returns what was published to one room of the lane.
func (l *laneLog) room(room int) *roomLog { return &roomLog{l.Sent, l.Failed[room]} }

// roomLog is what was published to a room, as in laneLog.
type roomLog struct {
	Sent   []int64
	Failed []uint32
}

// missing returns how many of the room's messages a user that subscribed at a certain time still lacks.
func (t *tally) missing(room *roomLog, subscribed int64) (missing int) {
	owed := uint32(sort.Search(len(room.Sent), func(i int) bool { return room.Sent[i] >= subscribed }))
	end := uint32(len(room.Sent))
	if !t.any {
		missing = int(end - owed)
		for _, n := range room.Failed {
			if n >= owed {
				missing--
			}
		}
		return missing
	}
	if owed < t.first {
		missing += int(t.first - owed)
	}
	missing += len(t.holes)
	if t.next < end {
		missing += int(end - t.next)
	}
	for _, n := range room.Failed {
		if (n >= owed && n < t.first) || n >= t.next || slices.Contains(t.holes, n) {
			missing--
		}
	}
	return missing
}
