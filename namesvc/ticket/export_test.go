package ticket

// Verify is verify, for keys of any size.
var Verify = verify
