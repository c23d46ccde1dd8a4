package main

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

// advise says what a person can do about an error of the network or of trust;
// other errors say so themselves.
func (e *env) advise(err error) string {
	var unreachable net.Error
	clock := func() string { return e.now().UTC().Format(time.RFC3339) }
	switch {
	case errors.Is(err, verify.ErrConflict):
		return ""
	case errors.Is(err, verify.ErrExpired):
		return fmt.Sprintf(`The pin is older than %d days, and so is all that was verified from it here:
those who signed then may have left since. Get a newer pin from somebody you
believe, and add it under a new name: confab net add --source URL --pin PIN NAME`,
			verify.DefaultRules().TrustingPeriod/(24*time.Hour))
	case errors.Is(err, verify.ErrFuture):
		return "Is the clock of this machine right? It says " + clock() + "."
	case errors.Is(err, bundle.ErrStale):
		return `The clock of this machine says ` + clock() + `. If that is right, the chain
has stopped or somebody holds newer blocks back. --max-age takes older proofs.`
	case errors.Is(err, bundle.ErrOrigin):
		return `Ask whoever gave you the proof for one that begins at your pin, as confab proof
save makes it, or get the pin that it begins at from somebody you believe.`
	case wire.CodeOf(err) == wire.Unavailable && errors.As(err, &unreachable):
		return `Is the network running, and this machine online? confab net show --offline says
whom it asks; confab net add with the same pin and name gives it other sources.`
	}
	return ""
}
