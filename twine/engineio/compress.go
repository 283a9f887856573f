package engineio

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/gobwas/httphead"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsflate"
)

// CompressionThreshold is the smallest payload, in bytes, that is worth compressing, when the options do not say.
const CompressionThreshold = 1024

// PerMessageDeflate configures the WebSocket extension permessage-deflate (RFC 7692).
//
// Neither side keeps its window between messages ("no context takeover"). That costs some compression, and makes it
// possible to compress a broadcast once for everybody; besides, a connection holds no compression state.
type PerMessageDeflate struct {
	// Threshold is the smallest message that is compressed, in bytes. Zero means CompressionThreshold.
	Threshold int
	// Level is a level of compress/flate. Zero means flate.BestSpeed.
	Level int
}

func (d *PerMessageDeflate) withDefaults() *PerMessageDeflate {
	if d == nil {
		return nil
	}
	opts := *d
	setDefault(&opts.Threshold, CompressionThreshold)
	setDefault(&opts.Level, flate.BestSpeed)
	return &opts
}

// deflateNegotiation answers the client's offers of permessage-deflate.
func (sv *Server) deflateNegotiation() *wsflate.Extension {
	if sv.opts.PerMessageDeflate == nil {
		return nil
	}
	return &wsflate.Extension{Parameters: wsflate.Parameters{ServerNoContextTakeover: true, ClientNoContextTakeover: true}}
}

func negotiate(e *wsflate.Extension) func(httphead.Option) (httphead.Option, error) {
	if e == nil {
		return nil
	}
	return e.Negotiate
}

// deflated returns m with a compressed payload, or m where that does not pay. The result is kept with m, so a
// broadcast is compressed once.
func (m *Message) deflated(opts *PerMessageDeflate) *Message {
	if m.kind == kindControl || m.uncompressed || len(m.packet()) < opts.Threshold {
		return m
	}
	if d := m.deflate.Load(); d != nil {
		return d
	}
	d := m.compress(opts.Level)
	// Two sessions may have got here at once; their results are the same.
	m.deflate.CompareAndSwap(nil, d)
	return m.deflate.Load()
}

func (m *Message) compress(level int) *Message {
	var buf bytes.Buffer
	buf.Write(make([]byte, maxFrameHeader))
	w := flateWriter(level)
	defer flateWriters.Put(w)
	w.Reset(&buf)
	_, err := w.Write(m.packet())
	if err == nil {
		err = w.Flush()
	}
	tail := []byte{0, 0, 0xff, 0xff} // RFC 7692, 7.2.1: an empty block ends the message and is left out
	if err != nil || !bytes.HasSuffix(buf.Bytes(), tail) || buf.Len()-maxFrameHeader >= len(m.packet()) {
		return m
	}
	d := framed(buf.Bytes()[:buf.Len()-len(tail)], maxFrameHeader, m.kind)
	d.frame[0] |= 0x40 // RSV1
	return d
}

var flateWriters sync.Pool

func flateWriter(level int) *flate.Writer {
	if w, ok := flateWriters.Get().(*flate.Writer); ok {
		return w
	}
	w, err := flate.NewWriter(io.Discard, level)
	if err != nil {
		w, _ = flate.NewWriter(io.Discard, flate.BestSpeed) // a level that does not exist
	}
	return w
}

var flateReaders = sync.Pool{New: func() any { return flate.NewReader(nil) }}

// inflate returns the message that a client compressed, if it is not larger than max.
func inflate(message []byte, max int) ([]byte, error) {
	// A final empty block in addition to the one left out tells the reader where the stream ends.
	src := io.MultiReader(bytes.NewReader(message), strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff"))
	r := flateReaders.Get().(io.ReadCloser)
	defer flateReaders.Put(r)
	if err := r.(flate.Resetter).Reset(src, nil); err != nil {
		return nil, errProtocol
	}
	out, err := io.ReadAll(io.LimitReader(r, int64(max)+1))
	switch {
	case len(out) > max:
		return nil, errTooLarge
	case err != nil && !errors.Is(err, io.EOF):
		return nil, errInflate
	}
	return out, nil
}

// rsv1 tells whether h starts a compressed message; such a bit is an error unless permessage-deflate was negotiated.
func rsv1(h ws.Header) bool { return h.Rsv&0x4 != 0 }

var gzipWriters = sync.Pool{New: func() any {
	w, _ := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed)
	return w
}}

// compressible compresses the answer to a poll if the client allows it and sets the headers that say so.
func (sv *Server) compressible(h http.Header, r *http.Request, payload []byte) []byte {
	threshold := sv.opts.HTTPCompressionThreshold
	if threshold < 0 || len(payload) < threshold || !acceptsGzip(r) {
		return payload
	}
	var buf bytes.Buffer
	w := gzipWriters.Get().(*gzip.Writer)
	defer gzipWriters.Put(w)
	w.Reset(&buf)
	if _, err := w.Write(payload); err != nil || w.Close() != nil {
		return payload
	}
	h.Set("Content-Encoding", "gzip")
	return buf.Bytes()
}

func acceptsGzip(r *http.Request) bool {
	for _, coding := range strings.Split(r.Header.Get("Accept-Encoding"), ",") {
		name, params, _ := strings.Cut(strings.TrimSpace(coding), ";")
		if strings.EqualFold(name, "gzip") || name == "*" {
			q := strings.ReplaceAll(params, " ", "")
			return q != "q=0" && q != "q=0.0" && q != "q=0.00" && q != "q=0.000"
		}
	}
	return false
}
