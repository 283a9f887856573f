package redislog

import "testing"

// The names are those of @socket.io/redis-streams-adapter 0.3.1, as it has computed them.
func TestStreamNames(t *testing.T) {
	for _, c := range []struct {
		namespace string
		count     int
		want      string
	}{
		{"/", 2, "socket.io-1"},
		{"/", 4, "socket.io-3"},
		{"/", 7, "socket.io-5"},
		{"/chat", 2, "socket.io-1"},
		{"/chat", 4, "socket.io-3"},
		{"/chat", 7, "socket.io-4"},
		{"/news", 2, "socket.io-0"},
		{"/news", 4, "socket.io-2"},
		{"/news", 7, "socket.io-3"},
		{"/admin", 2, "socket.io-0"},
		{"/admin", 4, "socket.io-0"},
		{"/admin", 7, "socket.io-4"},
		{"/orders", 2, "socket.io-0"},
		{"/orders", 4, "socket.io-0"},
		{"/orders", 7, "socket.io-2"},
		{"/a-much-longer-namespace-name", 2, "socket.io-0"},
		{"/a-much-longer-namespace-name", 4, "socket.io-0"},
		{"/a-much-longer-namespace-name", 7, "socket.io-6"},
		{"/ünïcode", 2, "socket.io--1"},
		{"/ünïcode", 4, "socket.io--1"},
		{"/ünïcode", 7, "socket.io--1"},
		{"/😀", 2, "socket.io-0"},
		{"/😀", 4, "socket.io-2"},
		{"/😀", 7, "socket.io-5"},
		{"/chat", 1, "socket.io"},
	} {
		if got := StreamName("socket.io", c.namespace, c.count); got != c.want {
			t.Errorf("namespace %s of %d streams is in %s, want %s", c.namespace, c.count, got, c.want)
		}
	}
}
