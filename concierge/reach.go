package concierge

import (
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/confab-chat/confab/namesvc/wire"
)

// reachTime bounds connecting to another service.
const reachTime = 10 * time.Second

// reach returns what connects to other services. Their URLs are from entries
// that anybody may write, so nothing is reached at addresses that only this
// machine or its network has, unless local is set. It is the address that is
// looked at, after the name was resolved.
func reach(local bool) dialer {
	d := &net.Dialer{Timeout: reachTime}
	if !local {
		d.Control = func(_, address string, _ syscall.RawConn) error {
			a, err := netip.ParseAddrPort(address)
			if err != nil || !public(a.Addr().Unmap()) {
				return wire.Errorf(wire.Unauthorized, "address is not one of the public internet")
			}
			return nil
		}
	}
	return d.DialContext
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
