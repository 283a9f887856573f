package twine

// Leftovers counts what is noted about sessions while they change hands. It is 0 when nothing is going on.
func (srv *Server) Leftovers() int {
	srv.identities.mu.Lock()
	n := len(srv.identities.busy)
	srv.identities.mu.Unlock()
	srv.strays.mu.Lock()
	n += len(srv.strays.tokens)
	srv.strays.mu.Unlock()
	srv.mu.Lock()
	defer srv.mu.Unlock()
	for _, ns := range srv.namespaces {
		if ns.log() != nil {
			ns.log().claiming.Lock()
			n += len(ns.log().claims)
			ns.log().claiming.Unlock()
		}
	}
	return n
}
