package sioclient

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
)

// recorder is a peer that writes down what happens.
type recorder struct{ log []string }

func (r *recorder) add(what string, data []byte) error {
	r.log = append(r.log, what+string(data))
	return nil
}

func (r *recorder) text(c *conn, data []byte) error        { return c.packet(r, data) }
func (r *recorder) upgraded(*conn) error                   { return nil }
func (r *recorder) opened(_ *conn, handshake []byte) error { return r.add("opened ", handshake) }
func (r *recorder) ping(*conn) error                       { return r.add("ping", nil) }
func (r *recorder) joined(_ *conn, data []byte) error      { return r.add("joined ", data) }
func (r *recorder) event(_ *conn, data []byte) error       { return r.add("event ", data) }

// serverFrame returns an unmasked frame with the shortest header.
func serverFrame(op byte, payload string) string {
	b := []byte{0x80 | op}
	switch n := len(payload); {
	case n > 0xffff:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	case n > 125:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = append(b, byte(n))
	}
	return string(b) + payload
}

func text(payload string) string { return serverFrame(opText, payload) }

const switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: " + nonceAnswer + "\r\n\r\n"

func TestConnReceive(t *testing.T) {
	medium, long := strings.Repeat("m", 300), strings.Repeat("l", 70_000)
	stream := switching + text(`0{"sid":"a"}`) + text(`42["early"]`) + text(`40{"sid":"b"}`) + text(`42["m","1"]`) +
		text("2") + text("6") + serverFrame(opPing, "x") + text(`42["`+medium+`"]`) + text(`42["`+long+`"]`) + text(`427["ack"]`)
	want := []string{
		`opened {"sid":"a"}`, `event ["early"]`, `joined {"sid":"b"}`, `event ["m","1"]`, "ping", `event ["` + medium + `"]`, `event ["` + long + `"]`,
		`event 7["ack"]`,
	}
	// However the bytes are cut, the same things happen.
	for _, step := range []int{1, 2, 7, 1000, len(stream)} {
		r, c := &recorder{}, &conn{phase: upgrading}
		var left []byte
		for piece := range slices.Chunk([]byte(stream), step) {
			left = append(left, piece...)
			used, err := c.receive(r, left)
			if err != nil {
				t.Fatalf("in steps of %d: %v", step, err)
			}
			left = left[used:]
		}
		if !slices.Equal(r.log, want) || len(left) != 0 || c.phase != connected {
			t.Errorf("in steps of %d: phase %d, %d bytes left, %.60q", step, c.phase, len(left), r.log)
		}
	}
}

func TestConnRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		phase  phase
		stream string
		is     error
		says   string
	}{
		"HTTP error":          {upgrading, "HTTP/1.1 400 Bad Request\r\n\r\n", nil, "upgrade refused"},
		"wrong accept key":    {upgrading, "HTTP/1.1 101 Switching Protocols\r\n\r\n", nil, "upgrade refused"},
		"connect error":       {joining, text(`44{"message":"no"}`), nil, `connection refused: {"message":"no"}`},
		"event too early":     {opening, text(`42["m"]`), nil, "unexpected packet"},
		"second handshake":    {connected, text(`0{}`), nil, "unexpected packet"},
		"second connect":      {connected, text(`40{}`), nil, "unexpected packet"},
		"empty packet":        {connected, text(""), nil, "unexpected packet"},
		"empty message":       {connected, text("4"), nil, "unexpected packet"},
		"binary event":        {connected, text(`451-["m"]`), nil, "unexpected packet"},
		"unknown packet":      {connected, text("9"), nil, "unexpected packet"},
		"Engine.IO close":     {connected, text("1"), errServerClosed, ""},
		"Socket.IO close":     {connected, text("41"), errServerClosed, ""},
		"WebSocket close":     {connected, serverFrame(opClose, ""), errServerClosed, ""},
		"binary frame":        {connected, serverFrame(0x2, "x"), errFrame, ""},
		"masked frame":        {connected, "\x81\x81....x", errFrame, ""},
		"reserved bits":       {connected, "\xc1\x01x", errFrame, ""},
		"fragment":            {connected, "\x01\x01x", errFrame, ""},
		"endless frame":       {connected, "\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff", errFrame, ""},
		"larger than buffers": {connected, text(strings.Repeat("x", bufferSize))[:10], errFrame, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := (&conn{phase: test.phase}).receive(&recorder{}, []byte(test.stream))
			if err == nil || (test.is != nil && !errors.Is(err, test.is)) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v", err)
			}
		})
	}
}
