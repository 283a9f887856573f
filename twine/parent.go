package twine

import (
	"regexp"
	"slices"
)

// ParentNamespace stands for the namespaces that are created when a client asks for a name that it matches. Middleware
// and handlers that it has, now or later, apply to all of them. All methods may be called concurrently.
type ParentNamespace struct {
	hooks
	server *Server
	match  func(name string, auth []byte) bool
}

// OfFunc makes namespaces dynamic: a client may join any name for which match returns true. auth is the raw JSON object
// that the client sent, or nil. match runs once for each client that asks for a name that does not exist yet; functions
// are asked in the order in which they were added.
//
// The namespace that is created stays, unless [Options.CleanupEmptyChildNamespaces] is set.
func (srv *Server) OfFunc(match func(name string, auth []byte) bool) *ParentNamespace {
	parent := &ParentNamespace{server: srv, match: match}
	srv.mu.Lock()
	defer srv.mu.Unlock()
	srv.parents = append(slices.Clip(srv.parents), parent)
	return parent
}

// OfPattern is [Server.OfFunc] for all names that re matches. Anchor it with ^ and $ to match whole names.
func (srv *Server) OfPattern(re *regexp.Regexp) *ParentNamespace {
	return srv.OfFunc(func(name string, _ []byte) bool { return re.MatchString(name) })
}

// Children returns the namespaces that were created and still exist, in no particular order.
func (p *ParentNamespace) Children() []*Namespace {
	p.server.mu.Lock()
	defer p.server.mu.Unlock()
	var children []*Namespace
	for _, ns := range p.server.namespaces {
		if ns.parent == p {
			children = append(children, ns)
		}
	}
	return children
}

// acquire returns the namespace with the name, counted as in use until release, or nil. If there are parents, it is
// dynamic that the name is not known.
func (srv *Server) acquire(name string) (ns *Namespace, dynamic bool) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if ns = srv.namespaces[name]; ns != nil {
		ns.users++
	}
	return ns, len(srv.parents) > 0
}

// acquireDynamic is acquire that may create the namespace. It calls the application's functions.
func (srv *Server) acquireDynamic(name string, auth []byte) *Namespace {
	srv.mu.Lock()
	parents := srv.parents
	srv.mu.Unlock()
	for _, parent := range parents {
		if !parent.match(name, auth) {
			continue
		}
		srv.mu.Lock()
		defer srv.mu.Unlock()
		ns := srv.namespaces[name]
		if ns == nil {
			ns = srv.newNamespace(name, parent)
			srv.namespaces[name] = ns
		}
		ns.users++
		return ns
	}
	return nil
}

// release undoes acquire.
func (srv *Server) release(ns *Namespace) {
	srv.mu.Lock()
	ns.users--
	unused := ns.users == 0 && ns.parent != nil && srv.opts.CleanupEmptyChildNamespaces &&
		srv.namespaces[ns.name] == ns
	if unused {
		delete(srv.namespaces, ns.name)
	}
	srv.mu.Unlock()
	if unused {
		srv.closeAdapter(ns)
	}
}
