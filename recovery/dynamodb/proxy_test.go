//go:build dynamodb

package dynamodb_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// call is a request on its way through a proxy.
type call struct {
	n    int    // of all, from 1
	op   string // "BatchWriteItem" and so on
	body []byte

	target string
	header http.Header
}

// answer is what a client gets; nil: its connection is cut.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// forward passes the call on.
func (c *call) forward() *answer {
	req, err := http.NewRequest(http.MethodPost, c.target, bytes.NewReader(c.body))
	if err != nil {
		return nil
	}
	req.Header = c.header.Clone()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil
	}
	return &answer{resp.StatusCode, resp.Header, body}
}

// fail answers with an error of DynamoDB.
func fail(status int, code string) *answer {
	body, _ := json.Marshal(map[string]string{"__type": "com.amazonaws.dynamodb.v20120810#" + code, "message": "injected"})
	return &answer{status: status, header: http.Header{"Content-Type": {"application/x-amz-json-1.0"}}, body: body}
}

// partly passes on a part of a batch and says that the rest was not processed.
func (c *call) partly(keep func(i int) bool) *answer {
	var in struct {
		RequestItems map[string][]json.RawMessage
	}
	if c.op != "BatchWriteItem" || json.Unmarshal(c.body, &in) != nil {
		return c.forward()
	}
	left := make(map[string][]json.RawMessage)
	for table, requests := range in.RequestItems {
		var some []json.RawMessage
		for i, r := range requests {
			if keep(i) {
				some = append(some, r)
			} else {
				left[table] = append(left[table], r)
			}
		}
		if in.RequestItems[table] = some; len(some) == 0 {
			delete(in.RequestItems, table)
		}
	}
	out, _ := json.Marshal(map[string]any{"UnprocessedItems": left})
	if len(in.RequestItems) > 0 {
		some := *c
		some.body, _ = json.Marshal(in)
		if a := some.forward(); a == nil || a.status != http.StatusOK {
			return a
		}
	}
	return &answer{http.StatusOK, http.Header{"Content-Type": {"application/x-amz-json-1.0"}}, out}
}

// proxy stands between a client and dynalite.
type proxy struct {
	*httptest.Server

	mu sync.Mutex
	n  int
	do func(*call) *answer // nil: forward
}

func newProxy(t testing.TB, d *dynalite) *proxy {
	p := &proxy{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		_, op, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		header := r.Header.Clone()
		header.Del("Accept-Encoding")
		c := &call{op: op, body: body, target: "http://" + d.address(), header: header}
		p.mu.Lock()
		p.n++
		c.n = p.n
		do := p.do
		p.mu.Unlock()
		if do == nil {
			do = (*call).forward
		}
		a := do(c)
		if a == nil {
			panic(http.ErrAbortHandler)
		}
		for name, values := range a.header {
			if name != "Content-Length" && name != "Connection" {
				w.Header()[name] = values
			}
		}
		// The checksum is of another body, or does not matter here.
		w.Header().Del("X-Amz-Crc32")
		w.WriteHeader(a.status)
		_, _ = w.Write(a.body)
	}))
	p.Config.ErrorLog = nil
	t.Cleanup(p.Close)
	return p
}

func (p *proxy) address() string { return strings.TrimPrefix(p.URL, "http://") }

// set makes do answer all calls from now on, and counts them anew.
func (p *proxy) set(do func(*call) *answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.do, p.n = do, 0
}
