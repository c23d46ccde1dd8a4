package verify

import (
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/confab-chat/confab/namesvc/wire"
)

// String returns the pin as people pass it on: chain:height:hash, the hash as
// 64 lower-case hexadecimal digits.
func (p Pin) String() string {
	return p.ChainID + ":" + strconv.FormatUint(p.Height, 10) + ":" + hex.EncodeToString(p.Hash[:])
}

// ParsePin reads what String writes. White space around it is ignored.
func ParsePin(text string) (Pin, error) {
	bad := func(why string) (Pin, error) {
		return Pin{}, wire.Errorf(wire.Invalid, "not a pin: %s; a pin looks like my-chain:1:5f3a… with 64 digits at the end", why)
	}
	parts := strings.Split(strings.TrimSpace(text), ":")
	if len(parts) != 3 {
		return bad("it has not three parts")
	}
	if len(parts[0]) == 0 || len(parts[0]) > MaxChainID {
		return bad("its chain id is empty or too long")
	}
	// The law's rule for chain ids, so that what is printed or becomes the name
	// of a file has no character that means something there.
	if strings.Trim(parts[0], "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return bad("its chain id has other characters than a to z, 0 to 9 and -")
	}
	height, err := strconv.ParseUint(parts[1], 10, 63)
	if err != nil || height == 0 || strconv.FormatUint(height, 10) != parts[1] {
		return bad("its height is no number above 0")
	}
	hash, err := hex.DecodeString(parts[2])
	if err != nil || len(hash) != 32 || hex.EncodeToString(hash) != parts[2] {
		return bad("its hash has not 64 lower-case hexadecimal digits")
	}
	return Pin{ChainID: parts[0], Height: height, Hash: [32]byte(hash)}, nil
}
