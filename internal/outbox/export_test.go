package outbox

// File is what tests put in the place of a segment's file.
type File = file

// CreateFile makes the real one.
var CreateFile = createFile

// OpenOn is Open on a disk of the test's making.
func OpenOn(dir string, o Options, create func(path string) (File, error)) (*Queue, error) {
	return open(dir, o, create)
}
