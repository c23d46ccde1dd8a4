package concierge

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"syscall"
	"time"

	"github.com/confab-chat/confab/namesvc/wire"
)

// reachTime bounds connecting to another service.
const reachTime = 10 * time.Second

// Reach says at which addresses services are reached whose URLs are from entries
// that anybody may write. It is the address that is looked at, when a name was
// resolved and it is dialled: what a name meant a moment before does not count.
type Reach int

// From the narrowest to the widest.
const (
	// ReachPublic is the public internet: nothing that only this machine or its
	// network has, such as a router's page or a cloud's metadata.
	ReachPublic Reach = 0
	// ReachPrivate is private networks too (RFC 1918, RFC 4193).
	ReachPrivate Reach = 1
	// ReachAll is every address: for trying things out on one machine.
	ReachAll Reach = 2
)

// ReachOf returns how far a client goes whose own concierge has these URLs: on this
// machine to everything, in a private network to private networks. Only addresses
// that stand in a URL count, since what a name resolves to is for others to say.
func ReachOf(urls []string) Reach {
	widest := ReachPublic
	for _, s := range urls {
		u, err := url.Parse(s)
		if err != nil {
			continue
		}
		a, err := netip.ParseAddr(u.Hostname())
		switch {
		case onThisMachine(u.Hostname()):
			return ReachAll
		case err == nil && a.Unmap().IsPrivate():
			widest = ReachPrivate
		}
	}
	return widest
}

// Dialer returns a dialer that goes so far.
func (r Reach) Dialer() Dialer {
	d := &net.Dialer{Timeout: reachTime}
	if r < ReachAll {
		d.Control = func(_, address string, _ syscall.RawConn) error {
			a, err := netip.ParseAddrPort(address)
			if at := a.Addr().Unmap(); err != nil || !public(at) && (r < ReachPrivate || !at.IsPrivate()) {
				return errReach
			}
			return nil
		}
	}
	return Dialer{by: d.DialContext}
}

// errReach is why an address is not dialled.
var errReach error = wire.Errorf(wire.Unauthorized, "address is not one of the public internet: a service in a private network is reached only from a concierge with an address there")

// reach returns what connects a concierge to other services.
func reach(local bool) dialer {
	if local {
		return ReachAll.Dialer().by
	}
	return ReachPublic.Dialer().by
}

// public reports whether an address is meant for everybody, as IANA's registries of
// special-purpose addresses have it (RFC 6890): of IPv6 what is given out at all,
// less what stands for an IPv4 address or for nothing.
func public(a netip.Addr) bool {
	in := func(p string) bool { return netip.MustParsePrefix(p).Contains(a) }
	special := []string{"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4"}
	if a.Is6() {
		if !in("2000::/3") {
			return false
		}
		special = []string{"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"}
	}
	return a.IsGlobalUnicast() && !a.IsPrivate() && !slices.ContainsFunc(special, in)
}
