// ChangeApply tests
