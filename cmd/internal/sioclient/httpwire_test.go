package sioclient

import (
	"errors"
	"testing"
)

func TestNextResponse(t *testing.T) {
	const (
		sized   = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nSet-Cookie: a=1; Path=/\r\nSET-COOKIE: b=2\r\nConnection: close\r\n\r\nhello"
		chunked = "HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
		empty   = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	)
	stream := []byte(sized + chunked + empty)
	for _, want := range []struct {
		text, body, cookies string
		status              int
		closes              bool
	}{{sized, "hello", "b=2; a=1", 200, true}, {chunked, "hello", "b=0", 400, false}, {empty, "", "b=0", 200, false}} {
		for n := range len(want.text) {
			if _, size, err := nextResponse(stream[:n]); size != 0 || err != nil {
				t.Fatalf("after %d bytes of %q: %d, %v", n, want.text, size, err)
			}
		}
		r, size, err := nextResponse(stream)
		if err != nil || size != len(want.text) || string(r.body) != want.body || r.status != want.status || r.closes() != want.closes {
			t.Errorf("%q: %+v, %d, %v", want.text, r, size, err)
		}
		cookies := keepCookies("b=0", &r)
		if len(cookies) != len(want.cookies) {
			t.Errorf("cookies %q, want %q", cookies, want.cookies)
		}
		stream = stream[size:]
	}
}

func TestNextResponseRefuses(t *testing.T) {
	for _, text := range []string{
		"SMTP ready or not\r\n\r\n", "HTTP/1.1 2x0 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "\r\n\r\n",
	} {
		if _, _, err := nextResponse([]byte(text)); !errors.Is(err, errHTTP) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestCookiesAreReplacedByName(t *testing.T) {
	r := &response{header: []byte("HTTP/1.1 200 OK\r\nSet-Cookie: twineid=new; Max-Age=1\r\nSet-Cookie: nonsense\r\nSet-Cookie: c=3")}
	if got := keepCookies("twineid=old; twineid2=x", r); got != "twineid2=x; twineid=new; c=3" {
		t.Errorf("%q", got)
	}
}

func FuzzNextResponse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7fffffff\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, size, err := nextResponse(b); size < 0 || size > len(b) || (err != nil && size != 0) {
			t.Errorf("%d of %d bytes, %v", size, len(b), err)
		}
	})
}

func TestTrailingText(t *testing.T) {
	for text, want := range map[string]string{
		`["message",{"a":"b"},"12-3"]`: "12-3", `["e"]`: "e", `["e",1]`: "", `["e",{"a":"b"}]`: "", `["e",""]`: "", `["e","a\"b"]`: "",
		`]`: "", `"]`: "", ``: "", `["e",["x"]]`: "",
	} {
		if got := string(trailingText([]byte(text))); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
