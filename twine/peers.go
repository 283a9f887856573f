package twine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/twine-realtime/twine/recovery"
)

// What servers that share a session store ask each other: to let go of a connection that is gone without their having
// noticed, because its client is with another server now.

const (
	// askSigns asks whether the connection that holds a session is alive. If it is not, its session is stored before the
	// answer comes.
	askSigns = "signs"
	// askTakeOver tells that a session has been claimed from the connection that held it, and asks what that knew.
	askTakeOver = "take over"
)

type peerRequest struct {
	Ask       string `json:"ask"`
	Namespace string `json:"namespace"`
	PID       string `json:"pid"` // the session's key
	SID       string `json:"sid"`
	Owner     string `json:"owner"` // the token that holds, or held, the session
}

type peerAnswer struct {
	Alive bool            `json:"alive,omitempty"`
	Over  bool            `json:"over,omitempty"`  // the client has said goodbye
	State *recovery.State `json:"state,omitempty"` // what is newer than the stored session
}

// ownerOf returns the name of the server that a token is of.
func ownerOf(token string) string {
	name, _, _ := strings.Cut(token, "-")
	return name
}

func (srv *Server) ask(ctx context.Context, q peerRequest) (a peerAnswer, err error) {
	request, err := json.Marshal(q)
	if err != nil {
		return a, err
	}
	answer, err := srv.opts.Recovery.Peers.Ask(ctx, ownerOf(q.Owner), request)
	if err == nil {
		err = json.Unmarshal(answer, &a)
	}
	return a, err
}

// askAgain is ask that waits until it is certain whether the other server is there.
func (srv *Server) askAgain(ctx context.Context, q peerRequest) (a peerAnswer, err error) {
	pause := time.NewTicker(100 * time.Millisecond)
	defer pause.Stop()
	for {
		if a, err = srv.ask(ctx, q); !errors.Is(err, recovery.ErrSilent) {
			return a, err
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return a, err
		}
	}
}

// peerTimeout is how long the answer of another server may take that has to look after a connection.
const peerTimeout = 3 * aliveTimeout

// askPeers asks the servers that hold sessions of the same browser whether the connections are alive, and returns the
// tokens of those that are not. It fails if one cannot be asked and is not known to be gone either: until it is, nothing
// tells whether its sessions are to be had.
func (s *Socket) askPeers(ctx context.Context, all []recovery.State) (gone map[string]bool, err error) {
	srv := s.client.server
	if srv.opts.Recovery.Peers == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	gone = make(map[string]bool)
	var mu sync.Mutex // guards the results
	var asked sync.WaitGroup
	for _, st := range all {
		if st.Owner == "" || ownerOf(st.Owner) == srv.instance {
			continue
		}
		asked.Go(func() {
			a, failed := srv.askAgain(ctx, peerRequest{askSigns, st.Namespace, st.PID, st.SID, st.Owner})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(failed, recovery.ErrNoPeer):
				gone[st.Owner] = true
			case failed != nil:
				err = errors.Join(err, errUnavailable, fmt.Errorf("ask the server that holds a session: %w", failed))
			case !a.Alive:
				gone[st.Owner] = true
			}
		})
	}
	asked.Wait()
	return gone, err
}

// takeOverElsewhere is takeOver for a connection of another server. What that does not answer in time is not known.
func (s *Socket) takeOverElsewhere(ctx context.Context, previous, pid string, st *recovery.State) bool {
	srv := s.client.server
	if previous == "" || srv.opts.Recovery.Peers == nil || ownerOf(previous) == srv.instance {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, aliveTimeout)
	defer cancel()
	a, err := srv.ask(ctx, peerRequest{askTakeOver, st.Namespace, st.PID, st.SID, previous})
	if err != nil {
		srv.opts.Logger.Debug("twine: the server that held a session did not answer", slog.String("namespace", s.namespace), slog.Any("error", err))
		return true
	}
	if a.State != nil {
		st.Rooms, st.Position, st.Data = a.State.Rooms, a.State.Position, a.State.Data
	}
	if a.Over {
		s.ns.log().forgetClaim(s, &resumption{state: *st})
	}
	return !a.Over
}

// answerPeer answers another server.
func (srv *Server) answerPeer(ctx context.Context, request []byte) []byte {
	var q peerRequest
	if err := json.Unmarshal(request, &q); err != nil {
		srv.opts.Logger.Warn("twine: malformed request of another server", slog.Any("error", err))
		return nil
	}
	srv.mu.Lock()
	ns := srv.namespaces[q.Namespace]
	srv.mu.Unlock()
	var a peerAnswer
	if ns != nil && ns.log() != nil {
		switch q.Ask {
		case askSigns:
			a.Alive = ns.showsSigns(ctx, &q)
		case askTakeOver:
			a = ns.surrender(ctx, &q)
		}
	}
	answer, err := json.Marshal(a)
	if err != nil {
		srv.opts.Logger.Warn("twine: answer to another server", slog.Any("error", err))
	}
	return answer
}

// showsSigns reports whether the connection that holds a session is alive. If not, it is closed, and what it leaves behind
// is stored, as far as ctx allows.
func (ns *Namespace) showsSigns(ctx context.Context, q *peerRequest) bool {
	h := ns.log()
	holder := func() *Socket {
		if joining := h.claimant(q.PID); joining != nil && joining.rec.token == q.Owner {
			return joining
		}
		if s := ns.Socket(q.SID); s != nil && s.rec != nil && s.rec.token == q.Owner {
			return s
		}
		return nil
	}
	s := holder()
	if s != nil {
		if s.state.Load() != stateEnded && s.session.CheckAlive(aliveTimeout) {
			return true
		}
		s.client.close(ReasonTransportClose)
	}
	poll := time.NewTicker(2 * time.Millisecond)
	defer poll.Stop()
	for s != nil && holder() == s {
		select {
		case <-poll.C:
		case <-ctx.Done():
			return false
		}
	}
	// The session is stored under its lock.
	if unlock, err := ns.server.identities.lock(ctx, q.PID); err == nil {
		unlock()
	}
	return false
}

// surrender closes a connection whose session another server's has taken over, and returns what it knew.
func (ns *Namespace) surrender(ctx context.Context, q *peerRequest) (a peerAnswer) {
	unlock, err := ns.server.identities.lock(ctx, q.PID)
	if err != nil {
		return a
	}
	defer unlock()
	if joining := ns.log().claimant(q.PID); joining != nil && joining.rec.token == q.Owner {
		joining.superseded(nil)
		joining.mu.Lock()
		if r := joining.rec.claimed; r != nil && r.state.PID == q.PID && !joining.connected {
			st := r.state
			a.State = &st
		}
		joining.mu.Unlock()
		joining.client.close(ReasonTransportClose)
	}
	old := ns.Socket(q.SID)
	if old == nil || old.rec == nil || old.rec.token != q.Owner {
		return a
	}
	old.superseded(nil)
	rooms := old.Rooms()
	old.mu.Lock()
	a.Over = old.state.Load() == stateEnded && !old.resumable(old.more.reason)
	if st, err := old.stateLocked(rooms); err == nil && old.connected {
		a.State = &st
	}
	old.mu.Unlock()
	old.client.close(ReasonTransportClose)
	return a
}
