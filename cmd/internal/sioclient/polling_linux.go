package sioclient

import (
	"bytes"
	"fmt"
)

// recordSeparator stands between the packets of one HTTP body.
const recordSeparator = 0x1e

// answers handles the responses on a link that speaks HTTP, and returns how much of b they took.
func (f *Fleet) answers(c *client, which int, b []byte) (used int, err error) {
	turn := c.links[which].turn
	for used < len(b) {
		r, size, err := nextResponse(b[used:])
		if err != nil || size == 0 {
			return used, err
		}
		used += size
		if err := f.answer(c, which, &r); err != nil {
			return used, err
		}
		if l := &c.links[which]; !l.open || l.turn != turn {
			return used, nil
		}
	}
	return used, nil
}

func (f *Fleet) answer(c *client, which int, r *response) error {
	c.cookies = keepCookies(c.cookies, r)
	if r.closes() {
		f.closeLink(c, which)
	}
	if r.status != 200 {
		return fmt.Errorf("HTTP %d: %.100q", r.status, r.body)
	}
	switch {
	case c.fetching && c.cookies == "":
		return fmt.Errorf("%w: no cookie", errHTTP)
	case c.fetching:
		return f.open(c)
	case which == post:
		c.posting = false
		return f.flush(c)
	}
	return f.polled(c, r.body)
}

// polled handles the answer to a poll and sends the next.
func (f *Fleet) polled(c *client, body []byte) error {
	turn := c.turn
	for packet := range bytes.SplitSeq(body, []byte{recordSeparator}) {
		if err := c.packet(f, packet); err != nil {
			return err
		}
		if c.turn != turn || c.phase == ended {
			return nil
		}
	}
	return f.exchange(c, main, f.get(c, f.opts.Path+"?EIO=4&transport=polling&sid="+c.sid))
}

// post sends a packet, now or after the one that is under way.
func (f *Fleet) post(c *client, packet string) error {
	if len(c.outbox) > 0 {
		c.outbox = append(c.outbox, recordSeparator)
	}
	c.outbox = append(c.outbox, packet...)
	if c.posting {
		return nil
	}
	return f.flush(c)
}

func (f *Fleet) flush(c *client) error {
	if len(c.outbox) == 0 {
		return nil
	}
	head := fmt.Appendf(nil, "POST %s?EIO=4&transport=polling&sid=%s HTTP/1.1\r\nHost: %s\r\nContent-Type: text/plain;charset=UTF-8\r\n"+
		"Content-Length: %d\r\n", f.opts.Path, c.sid, c.place.Host, len(c.outbox))
	request := append(appendCookie(head, c.cookies), c.outbox...)
	c.outbox, c.posting = nil, true
	return f.exchange(c, post, request)
}
