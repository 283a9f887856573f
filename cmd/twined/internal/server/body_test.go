package server

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

func TestSlowBodyIsCutOff(t *testing.T) {
	read := make(chan error, 1)
	server := httptest.NewServer(boundBodies(10*time.Millisecond, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		read <- err
	})))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
	if err := <-read; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestDeadlineEndsWithTheBody(t *testing.T) {
	const limit = 200 * time.Millisecond
	server := httptest.NewServer(boundBodies(limit, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		select {
		case <-r.Context().Done():
			t.Error("the request was cancelled")
		case <-time.After(2 * limit):
		}
	})))
	defer server.Close()
	response, err := http.Post(server.URL, "text/plain", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
}

// Who sends more than anyone wants to read gets the answer: the connection is not reset while it is being written to.
func TestAnswerToABodyThatIsNotRead(t *testing.T) {
	t.Run("keep-alive", func(t *testing.T) { answerToABodyThatIsNotRead(t, "", "too large\n") })
	// Sent at once, and so in chunks.
	t.Run("close", func(t *testing.T) {
		answerToABodyThatIsNotRead(t, "Connection: close\r\n", "too large\n\r\n0\r\n\r\n")
	})
}

func answerToABodyThatIsNotRead(t *testing.T, header, end string) {
	server := httptest.NewServer(boundBodies(time.Minute, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.ReadFull(r.Body, make([]byte, 1000))
		http.Error(w, "too large", http.StatusRequestEntityTooLarge)
	})))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	part := strings.Repeat("x", 1<<10)
	if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: twine\r\nContent-Length: 10000000\r\n"+header+"\r\n"+part); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, len("HTTP/1.1 413"))
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "HTTP/1.1 413" {
		t.Fatalf("%q, %v", answer, err)
	}
	for range 100 {
		if _, err := io.WriteString(conn, part); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := io.ReadAll(conn); err != nil || !strings.HasSuffix(string(text), end) {
		t.Fatalf("%q, %v", text, err)
	}
}
