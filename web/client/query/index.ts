export { bindQueries, queryBinding, type BindOptions, type QueryBinding } from './bindQueries';
