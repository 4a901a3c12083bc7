// ChangeApply
