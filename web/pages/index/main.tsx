import { start } from '../shell';
import './index.css';  // after the design system, which it refines
import { LivePage } from './LivePage';

start({ name: 'index', Page: LivePage, several: true });
