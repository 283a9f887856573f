package main

import (
	"bytes"
	"fmt"
	"strings"
)

// digits is how many start a payload: its number, so that a receiver can check the order.
const digits = 10

// payload returns message number n, of size characters.
func payload(n uint32, size int) string {
	return fmt.Sprintf("%0*d%s", digits, n, strings.Repeat(".", max(0, size-digits)))
}

// receipts checks what each connection receives: the messages from a first one on, each once, in order, intact.
// Its methods are not for concurrent use.
type receipts struct {
	next   []uint32
	rest   []byte // of an event, after the number
	logged bool
}

// newReceipts expects messages of size characters at each of n connections, the first with number first. Those of a log
// have their offset as one more argument.
func newReceipts(n int, first uint32, size int, logged bool) *receipts {
	r := &receipts{next: make([]uint32, n), logged: logged}
	for i := range r.next {
		r.next[i] = first
	}
	r.rest = []byte(payload(0, size)[digits:] + `"`)
	return r
}

var eventStart = []byte(`["m","`)

// check takes an event that connection i received.
func (r *receipts) check(i int, event []byte) error {
	body, ok := bytes.CutPrefix(event, eventStart)
	if !ok || len(body) < digits {
		return fmt.Errorf("unexpected event %.200q", event)
	}
	end, ok := bytes.CutPrefix(body[digits:], r.rest)
	if r.logged && ok {
		end, ok = cutOffset(end)
	}
	if !ok || len(end) != 1 || end[0] != ']' {
		return fmt.Errorf("unexpected event %.200q", event)
	}
	var n uint32
	if !isNumber(body[:digits]) {
		return fmt.Errorf("unexpected event %.200q", event)
	}
	for _, d := range body[:digits] {
		n = n*10 + uint32(d-'0')
	}
	if n != r.next[i] {
		return fmt.Errorf("message %d in the place of %d", n, r.next[i])
	}
	r.next[i]++
	return nil
}

// cutOffset takes an offset, as one more argument of an event, off the start of b.
func cutOffset(b []byte) (rest []byte, ok bool) {
	b, ok = bytes.CutPrefix(b, []byte(`,"`))
	offset, rest, closed := bytes.Cut(b, []byte(`"`))
	ms, seq, dash := bytes.Cut(offset, []byte("-"))
	return rest, ok && closed && dash && isNumber(ms) && isNumber(seq)
}

func isNumber(b []byte) bool {
	for _, d := range b {
		if d < '0' || d > '9' {
			return false
		}
	}
	return len(b) > 0
}
