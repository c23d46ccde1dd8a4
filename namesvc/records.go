package namesvc

import (
	"fmt"
	"strings"

	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Records is what an account says about itself. An op always carries all of it,
// so that a change of several records is one step and a replay needs no merge.
type Records struct {
	_           struct{}    `cbor:",toarray"`
	Profile     []byte      // 32 bytes, the id of the profile document (SPEC-agent §10), or empty
	Avatar      []byte      // likewise of the picture, or empty
	AlsoKnownAs []string    // other names: did:…, https://…; claims, not proofs
	Concierges  []Concierge // up to 3, the first one to be tried first
	Service     *Endpoint   // for kind service only, nil otherwise
}

// Concierge names a service that buffers an account's messages: its account and
// generation, never its handle, so that a concierge can move without its users
// and whoever takes over a lapsed handle gets nobody's mail.
type Concierge struct {
	_          struct{} `cbor:",toarray"`
	Account    AccountID
	Generation uint32
	Priority   uint8  // lower is tried first; equal ones in the order listed
	Acceptance []byte // the service's signature over Acceptance, or empty
}

// Roles of a service, a set of bits.
type Roles uint32

// The roles. The bits are frozen.
const (
	RoleConcierge Roles = 1 << iota
	RoleHub
	RoleRelay
	RoleValidator

	allRoles = RoleConcierge | RoleHub | RoleRelay | RoleValidator
)

// roleNames is indexed by bit.
var roleNames = [...]string{"concierge", "hub", "relay", "validator"}

// String returns the roles' names joined by commas.
func (r Roles) String() string {
	var names []string
	for bit, name := range roleNames {
		if r&(1<<bit) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// ParseRoles reads what String writes.
func ParseRoles(s string) (Roles, error) {
	var r Roles
next:
	for name := range strings.SplitSeq(s, ",") {
		for bit, known := range roleNames {
			if name == known {
				r |= 1 << bit
				continue next
			}
		}
		return 0, fmt.Errorf("role %q is unknown: use %s", name, strings.Join(roleNames[:], ", "))
	}
	return r, nil
}

// Endpoint says how a service is reached and how it proves itself.
type Endpoint struct {
	_       struct{}   `cbor:",toarray"`
	URLs    []string   // https://…; http:// on loopback only
	Peers   []string   // libp2p addresses, /dns/…/p2p/…
	Roles   Roles      // what it does, at least one
	Key     key.Public // the server key: whoever answers must hold it
	Consent bool       // it serves only accounts that it has accepted
}

// Bounds of records. A leaf should stay near 2 kB, because it travels with
// every lookup.
const (
	MaxConcierges  = 3
	MaxAlsoKnownAs = 5
	MaxURLs        = 4
	MaxPeers       = 4
	maxName        = 128 // bytes of one AlsoKnownAs
	maxAddress     = 200 // bytes of one URL or libp2p address
)

// check checks form and bounds for an account of this kind; whether the
// concierges exist is the op's business.
func (r Records) check(kind Kind) error {
	switch {
	case !hashOrEmpty(r.Profile):
		return fmt.Errorf("the profile must be a hash of 32 bytes or empty")
	case !hashOrEmpty(r.Avatar):
		return fmt.Errorf("the avatar must be a hash of 32 bytes or empty")
	case len(r.AlsoKnownAs) > MaxAlsoKnownAs:
		return fmt.Errorf("more than %d other names", MaxAlsoKnownAs)
	case len(r.Concierges) > MaxConcierges:
		return fmt.Errorf("more than %d concierges", MaxConcierges)
	}
	for _, name := range r.AlsoKnownAs {
		if !printable(name, maxName) || !strings.Contains(name, ":") {
			return fmt.Errorf("another name must be a URI of at most %d printable ASCII characters", maxName)
		}
	}
	for i, c := range r.Concierges {
		if c.Generation == 0 {
			return fmt.Errorf("a concierge's generation begins at 1")
		}
		if len(c.Acceptance) != 0 && len(c.Acceptance) != key.SignatureSize {
			return fmt.Errorf("a concierge's acceptance must be a signature or empty")
		}
		for _, other := range r.Concierges[:i] {
			if other.Account == c.Account {
				return fmt.Errorf("a concierge is listed twice")
			}
		}
	}
	if (r.Service != nil) && kind != Service {
		return fmt.Errorf("only an account of kind service has service endpoints")
	}
	if r.Service != nil {
		return r.Service.check()
	}
	return nil
}

func (e Endpoint) check() error {
	switch {
	case e.Roles == 0 || e.Roles&^allRoles != 0:
		return fmt.Errorf("a service has at least one role, and none but the known ones")
	case len(e.URLs) > MaxURLs || len(e.Peers) > MaxPeers:
		return fmt.Errorf("more than %d URLs or %d libp2p addresses", MaxURLs, MaxPeers)
	}
	for _, u := range e.URLs {
		if err := checkURL(u); err != nil {
			return err
		}
	}
	for _, p := range e.Peers {
		if !printable(p, maxAddress) || p[0] != '/' {
			return fmt.Errorf("a libp2p address begins with / and has at most %d printable ASCII characters", maxAddress)
		}
	}
	if err := e.Key.Check(); err != nil {
		return fmt.Errorf("server key: %w", err)
	}
	return nil
}

// checkURL accepts https URLs, and http ones on loopback. The rule is spelt out
// here and not left to a URL parser, because validators built with different
// versions of a parser must not disagree.
func checkURL(u string) error {
	if !printable(u, maxAddress) {
		return fmt.Errorf("a URL has at most %d printable ASCII characters", maxAddress)
	}
	rest, ok := strings.CutPrefix(u, "https://")
	if !ok {
		rest, ok = strings.CutPrefix(u, "http://")
		if !ok || !loopback(rest) {
			return fmt.Errorf("a URL must begin with https:// (http:// is for loopback only)")
		}
	}
	if host, _, _ := strings.Cut(rest, "/"); host == "" || host[0] == ':' || strings.ContainsAny(host, "@?#") {
		return fmt.Errorf("a URL must name a host, without user name")
	}
	return nil
}

// loopback reports whether what follows "http://" is on this machine.
func loopback(rest string) bool {
	host, _, _ := strings.Cut(rest, "/")
	if strings.HasPrefix(host, "[::1]") {
		return portOnly(host[len("[::1]"):])
	}
	for _, name := range []string{"127.0.0.1", "localhost"} {
		if after, ok := strings.CutPrefix(host, name); ok {
			return portOnly(after)
		}
	}
	return false
}

// portOnly reports whether s is empty or a colon and digits.
func portOnly(s string) bool {
	if s == "" {
		return true
	}
	if s[0] != ':' || len(s) < 2 || len(s) > 6 {
		return false
	}
	for i := 1; i < len(s); i++ {
		if !isDigit(s[i]) {
			return false
		}
	}
	return true
}

// printable reports whether s has 1 to max bytes of visible ASCII. No spaces,
// quotes, angle brackets or backslashes: these strings end up in terminals and
// pages.
func printable(s string, max int) bool {
	if len(s) == 0 || len(s) > max {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("\"'<>\\`", c) >= 0 {
			return false
		}
	}
	return true
}

// Acceptance returns what a service signs (wire.TagAcceptance) when it agrees
// to serve an account.
func Acceptance(chain string, user AccountID, userGeneration uint32, service AccountID, serviceGeneration uint32) []byte {
	return wire.Encode(struct {
		_     struct{} `cbor:",toarray"`
		Chain string
		User  AccountID
		UGen  uint32
		Serv  AccountID
		SGen  uint32
	}{Chain: chain, User: user, UGen: userGeneration, Serv: service, SGen: serviceGeneration})
}
