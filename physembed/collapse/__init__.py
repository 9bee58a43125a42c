"""What becomes of molecules in MD: collapse, broken bonds in liquids, and rearrangements."""
