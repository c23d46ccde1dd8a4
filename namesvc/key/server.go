package key

import (
	"io"

	"github.com/confab-chat/confab/namesvc/wire"
)

// Server is a service's key, named by its entry: with it a concierge, hub or
// relay proves that it is the one the chain speaks of.
type Server struct{ secret }

// NewServer returns a new server key.
func NewServer(rand io.Reader) (Server, error) {
	s, err := randomSecret(rand)
	return Server{s}, err
}

// ServerFromSeed returns the server key that a Seed call gave out.
func ServerFromSeed(seed [SeedSize]byte) Server { return Server{newSecret(seed)} }

// SignAcceptance agrees to serve an account; msg is namesvc.Acceptance.
func (s Server) SignAcceptance(msg []byte) Signature { return s.sign(wire.TagAcceptance, msg) }
