package sioclient

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

var errHTTP = errors.New("malformed HTTP response")

// response is an answer to a request. Its parts are borrowed.
type response struct {
	status int
	header []byte // status line and header lines
	body   []byte
}

var headerEnd = []byte("\r\n\r\n")

// nextResponse parses the response at the start of b. size is its length, or zero when b does not hold all of it yet.
func nextResponse(b []byte) (r response, size int, err error) {
	end := bytes.Index(b, headerEnd)
	if end < 0 {
		return response{}, 0, nil
	}
	r.header = b[:end]
	line, _, _ := bytes.Cut(r.header, headerEnd[:2])
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.")) {
		return response{}, 0, errHTTP
	}
	if r.status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return response{}, 0, errHTTP
	}
	size = end + len(headerEnd)
	if bytes.EqualFold(r.field("Transfer-Encoding"), []byte("chunked")) {
		body, n, err := chunks(b[size:])
		if err != nil || n == 0 {
			return response{}, 0, err
		}
		r.body = body
		return r, size + n, nil
	}
	text := r.field("Content-Length")
	if text == nil {
		return response{}, 0, fmt.Errorf("%w: no length", errHTTP)
	}
	length, err := strconv.Atoi(string(text))
	if err != nil || length < 0 {
		return response{}, 0, errHTTP
	}
	if len(b)-size < length {
		return response{}, 0, nil
	}
	r.body = b[size : size+length]
	return r, size + length, nil
}

// chunks parses a chunked body without trailers. n is its length, or zero when b does not hold all of it yet.
func chunks(b []byte) (body []byte, n int, err error) {
	body = []byte{}
	for {
		end := bytes.Index(b[n:], headerEnd[:2])
		if end < 0 {
			return nil, 0, nil
		}
		text, _, _ := bytes.Cut(b[n:n+end], []byte(";"))
		size, err := strconv.ParseUint(string(bytes.TrimSpace(text)), 16, 31)
		if err != nil {
			return nil, 0, errHTTP
		}
		n += end + 2
		if len(b)-n < int(size)+2 {
			return nil, 0, nil
		}
		body = append(body, b[n:n+int(size)]...)
		n += int(size) + 2
		if size == 0 {
			return body, n, nil
		}
	}
}

// fields calls f with the value of each header line of that name.
func (r *response) fields(name string, f func(value []byte)) {
	for line := range bytes.SplitSeq(r.header, headerEnd[:2]) {
		if key, value, ok := bytes.Cut(line, []byte(":")); ok && strings.EqualFold(string(key), name) {
			f(bytes.TrimSpace(value))
		}
	}
}

// field returns the value of the first header line of that name, or nil.
func (r *response) field(name string) (first []byte) {
	r.fields(name, func(value []byte) {
		if first == nil {
			first = value
		}
	})
	return first
}

func (r *response) closes() bool { return bytes.EqualFold(r.field("Connection"), []byte("close")) }

// keepCookies returns the value of the Cookie header after a response that may set some.
func keepCookies(cookies string, r *response) string {
	r.fields("Set-Cookie", func(value []byte) {
		pair, _, _ := strings.Cut(string(value), ";")
		name, _, ok := strings.Cut(pair, "=")
		if !ok {
			return
		}
		var kept []string
		for _, old := range strings.Split(cookies, "; ") {
			if old != "" && !strings.HasPrefix(old, name+"=") {
				kept = append(kept, old)
			}
		}
		cookies = strings.Join(append(kept, pair), "; ")
	})
	return cookies
}

// appendCookie ends a request's header.
func appendCookie(b []byte, cookies string) []byte {
	if cookies != "" {
		b = append(append(append(b, "Cookie: "...), cookies...), "\r\n"...)
	}
	return append(b, "\r\n"...)
}
