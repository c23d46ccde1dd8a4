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
	switch {
	case errors.Is(err, verify.ErrConflict):
		return ""
	case errors.Is(err, verify.ErrExpired):
		return fmt.Sprintf("The pin is older than %d days, and so is all that was verified from it here: those who signed\n"+
			"then may have left since. Get a newer pin from somebody you believe, and add it under a new name:\n"+
			"confab net add --source URL --pin PIN NAME", verify.DefaultRules().TrustingPeriod/(24*time.Hour))
	case errors.Is(err, verify.ErrFuture):
		return fmt.Sprintf("Is the clock of this machine right? It says %s.", e.now().UTC().Format(time.RFC3339))
	case errors.Is(err, bundle.ErrStale):
		return fmt.Sprintf("If the clock of this machine is right (it says %s), the chain has stopped or somebody holds\n"+
			"newer blocks back. An older proof is taken with --max-age.", e.now().UTC().Format(time.RFC3339))
	case errors.Is(err, bundle.ErrOrigin):
		return "Ask whoever gave you the proof for one that begins at your pin (confab proof save makes it), or get the\n" +
			"pin that it begins at from somebody you believe."
	case wire.CodeOf(err) == wire.Unavailable && errors.As(err, &unreachable):
		return "Is the network running, and this machine online? confab net show --offline says whom it asks;\n" +
			"confab net add with the same pin and name gives it other sources."
	}
	return ""
}
