package query

import (
	"net/http"

	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Network is what those are told who want to join the network.
type Network struct {
	// Genesis is the genesis file.
	Genesis []byte
	// Peers returns addresses of peers, "id@host:port", this node's own first. A
	// host that is unspecified is the one that was asked.
	Peers func() []string
	// Turns returns the priorities by which the validators of a height take turns
	// to propose, in the order of their set.
	Turns func(height uint64) ([]int64, error)
}

// genesis answers with the genesis file, which is JSON whatever was asked for.
func (s *Server) genesis(w http.ResponseWriter, r *http.Request) {
	if len(s.Network.Genesis) == 0 {
		s.fail(w, r, errNoNetwork)
		return
	}
	w.Header().Set("Content-Type", typeJSON)
	w.Write(s.Network.Genesis)
}

var errNoNetwork = wire.Errorf(wire.NotFound, "this server does not tell how to join; ask another")

// Peers is the answer to who can be joined.
type Peers struct {
	_     struct{} `cbor:",toarray"`
	Peers []string
}

func (s *Server) peers(*http.Request) (any, error) {
	if s.Network.Peers == nil {
		return nil, errNoNetwork
	}
	return Peers{Peers: s.Network.Peers()}, nil
}

// Turns is a height's validators with the priorities by which they take turns to
// propose. The set is in the header of the height; the priorities are in none.
type Turns struct {
	_          struct{} `cbor:",toarray"`
	Height     uint64
	Validators verify.Validators
	Priorities []int64
}

func (s *Server) turns(r *http.Request) (any, error) {
	height, err := number(r.URL.Query().Get("height"))
	if err != nil {
		return nil, err
	}
	if s.Network.Turns == nil {
		return nil, errNoNetwork
	}
	_, set, err := s.Heads.Head(height)
	if err != nil {
		return nil, err
	}
	t := Turns{Height: height, Validators: set}
	if t.Priorities, err = s.Network.Turns(height); err != nil {
		return nil, err
	}
	return t, nil
}
