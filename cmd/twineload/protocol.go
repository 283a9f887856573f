package main

import "time"

// The first process leads; the others are its workers and hold the users' connections. They talk in lines of JSON: orders on a
// worker's standard input, reports on its standard output. A worker ends when its input does.

// node is a server.
type node struct {
	URL  string `json:"url"`
	Addr string `json:"addr"` // IPv4 address and port
	Host string `json:"host"` // for the Host header
}

// assignment tells a worker what is its own. Times in the protocol are microseconds after Start.
type assignment struct {
	Worker    int           `json:"worker"`
	Workers   int           `json:"workers"`
	Users     int           `json:"users"` // of all workers
	Nodes     []node        `json:"nodes"`
	Cluster   bool          `json:"cluster"`
	Rooms     int           `json:"rooms"`
	RunID     string        `json:"run_id"`
	Transport string        `json:"transport"`
	Cookie    bool          `json:"cookie"`
	Sources   []string      `json:"sources"`
	Start     time.Time     `json:"start"`
	Ramp      time.Duration `json:"ramp"`
	Parallel  int           `json:"parallel"`
	Backoff   time.Duration `json:"backoff"`
	Deadline  time.Time     `json:"deadline"` // when the worker ends in any case
}

// placement says who is where. Users are dealt to rooms, and rooms (or, in a cluster, users) to nodes, in turn.
func (a *assignment) room(user int) int { return user % a.Rooms }

func (a *assignment) nodeOf(user int) int {
	if a.Cluster {
		// Those of a room on different nodes, also if each has a room of its own.
		return (user/a.Rooms + a.room(user)) % len(a.Nodes)
	}
	return a.room(user) % len(a.Nodes)
}

// polling reports whether a user polls.
func (a *assignment) polling(user int) bool {
	switch a.Transport {
	case "polling":
		return true
	case "mixed":
		// Half of each room, whatever the number of rooms.
		return user/a.Rooms%2 == 1
	}
	return false
}

// share returns how many users a worker has.
func (a *assignment) share() int { return (a.Users - a.Worker + a.Workers - 1) / a.Workers }

// user returns the number, among all, of a worker's i-th user.
func (a *assignment) user(i int) int { return i*a.Workers + a.Worker }

// order is a line to a worker. One of its fields is set.
type order struct {
	Assign *assignment `json:"assign,omitempty"`
	Cut    *cutOrder   `json:"cut,omitempty"`
	// Kill says that a server is about to be killed, so that its users' losses are none of its own.
	Kill *killOrder `json:"kill,omitempty"`
	// Settle hands over what was published. The worker reports what is missing from then on.
	Settle []laneLog `json:"settle,omitempty"`
	// Finish asks for the final report.
	Finish bool `json:"finish,omitempty"`
}

// cutOrder breaks the connections of a share of the users, one after the other.
type cutOrder struct {
	Share  float64       `json:"share"`
	Node   int           `json:"node"` // -1 for all
	Within time.Duration `json:"within"`
}

// killOrder names a server.
type killOrder struct {
	Node int `json:"node"`
}

// counts are what workers report all the time. They are added up.
type counts struct {
	Started     int   `json:"started"`
	Connected   int   `json:"connected"` // now
	Ready       int   `json:"ready"`     // subscribed at least once
	Connects    int64 `json:"connects"`  // answers to CONNECT
	Recovered   int64 `json:"recovered"` // of those, with the session of before
	Anew        int64 `json:"anew"`      // of those that came back, without it
	Gaps        int64 `json:"gaps"`      // twine:gap events
	Cut         int64 `json:"cut"`       // by us
	Lost        int64 `json:"lost"`      // by the server
	Told        int   `json:"told"`      // workers that know which server is killed
	Killed      int64 `json:"killed"`    // connections that ended with that server
	FailedTries int64 `json:"failed_tries"`
	Received    int64 `json:"received"` // without the doubled
	Missing     int64 `json:"missing"`  // -1 until Settle
	Foreign     int64 `json:"foreign"`  // messages that are not the user's, or not ours
}

func (c *counts) add(o *counts) {
	c.Started += o.Started
	c.Connected += o.Connected
	c.Ready += o.Ready
	c.Connects += o.Connects
	c.Recovered += o.Recovered
	c.Anew += o.Anew
	c.Gaps += o.Gaps
	c.Cut += o.Cut
	c.Lost += o.Lost
	c.Told += o.Told
	c.Killed += o.Killed
	c.FailedTries += o.FailedTries
	c.Received += o.Received
	c.Foreign += o.Foreign
	if c.Missing >= 0 && o.Missing >= 0 {
		c.Missing += o.Missing
	} else {
		c.Missing = -1
	}
}

// update is a line from a worker.
type update struct {
	Counts counts       `json:"counts"`
	Load   load         `json:"load"`
	Final  *finalReport `json:"final,omitempty"`
	Error  string       `json:"error,omitempty"` // the worker cannot go on
}

// finalReport is a worker's last word.
type finalReport struct {
	Causes     map[string]int64 `json:"causes"` // of failures
	Expected   int64            `json:"expected"`
	Doubled    int64            `json:"doubled"`
	OutOfOrder int64            `json:"out_of_order"`
	Nothing    int              `json:"nothing"` // users who received nothing
	NeverReady int              `json:"never_ready"`
	FirstCut   int64            `json:"first_cut"`   // when the first connection was cut; 0 if none was
	LastJoined int64            `json:"last_joined"` // the last time that a client came back; 0 if none did
	LastCaught int64            `json:"last_caught"` // the last time that a client got something it had missed
	Caught     int64            `json:"caught"`      // deliveries that were missed at first
	Live       []byte           `json:"live"`        // histograms, encoded
	Late       []byte           `json:"late"`
	Ready      []byte           `json:"ready"`
	Back       []byte           `json:"back"`
	Lag        []byte           `json:"lag"`
	Timeline   map[int][]byte   `json:"timeline"`
}
